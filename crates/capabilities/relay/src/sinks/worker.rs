//! Worker that takes batches out of a queue and has them written.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use omnirelay_core::backoff::Backoff;
use omnirelay_host::chance::random_part;
use tokio::time::{Instant, sleep, timeout_at};

use super::envelope::SinkBatch;
use super::health::SinkState;
use super::queue::{Queue, QueueEntry, WriteBounds};
use crate::metrics::sinks::SinkCounts;

/// The longest pause between attempts to write.
const PAUSE_MAX: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), PAUSE_MAX);
/// So many failures in a row that a pause is the longest.
const LONG_AWAY: u32 = 32;

/// Reason why something was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    /// It may be written another time.
    Failed(String),
    /// It will never be taken.
    Refused(String),
}

/// Writer of a sink's lines.
#[async_trait]
pub(super) trait SinkWriter: Send {
    /// The most that it wants to write at once.
    fn bounds(&self) -> WriteBounds;

    /// Writes all lines of these batches, in their order, as durably as they are acknowledged. What failed is given
    /// to it again, the same and nothing else in between, until it is written or refused, or it is told to forget it.
    ///
    /// # Errors
    /// None of the batches counts as written, though some may be.
    async fn write(&mut self, items: &[Arc<SinkBatch>]) -> Result<(), WriteError>;

    /// Forgets what failed last: it is not given to it again.
    fn forget(&mut self) {}

    /// How long it may take to write these, where that is longer than those who wait are patient by themselves.
    fn may_take(&self, _items: &[Arc<SinkBatch>]) -> Duration {
        Duration::ZERO
    }

    /// How long it was told to wait before what failed last is written again.
    fn asked_to_wait(&self) -> Option<Duration> {
        None
    }

    /// When it wants to be woken though nothing waits.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    async fn attend(&mut self) {}

    /// Ends well; nothing is written after it.
    ///
    /// # Errors
    /// When what was written may not be durable.
    async fn close(&mut self) -> Result<(), WriteError> {
        Ok(())
    }
}

/// Result of writing batches.
enum BatchWriteOutcome {
    All,
    /// The writer will never have one of them.
    Refused(Vec<QueueEntry>),
    /// They failed until nobody waited for them any more. The first of their frames.
    GivenUp(Arc<SinkBatch>),
}

/// Result of one attempt to write.
enum WriteAttempt {
    Written,
    Refused,
    Failed,
}

/// Worker of a sink: serves one queue until it is closed and empty.
pub(super) struct SinkWorker {
    pub queue: Arc<Queue>,
    pub writer: Box<dyn SinkWriter>,
    pub state: Arc<SinkState>,
    pub counts: SinkCounts,
}

impl SinkWorker {
    pub(super) async fn run(mut self) {
        let bounds = self.writer.bounds();
        loop {
            let next = match self.writer.due() {
                None => self.queue.next(bounds).await,
                Some(due) => match timeout_at(due, self.queue.next(bounds)).await {
                    Ok(next) => next,
                    Err(_) => {
                        self.attend().await;
                        continue;
                    }
                },
            };
            let Some(group) = next else { break };
            self.deliver(group).await;
        }
        let closed = AssertUnwindSafe(self.writer.close()).catch_unwind().await;
        if let Err(error) = closed.unwrap_or_else(|_| Err(panicked())) {
            self.failed(&error);
        }
    }

    async fn attend(&mut self) {
        if AssertUnwindSafe(self.writer.attend()).catch_unwind().await.is_err() {
            self.failed(&panicked());
            // Its time may be due for ever.
            sleep(PAUSE_MAX).await;
        }
    }

    /// Writes a group; where one of its batches is refused, the others are written without it.
    async fn deliver(&mut self, group: Vec<QueueEntry>) {
        let group = match self.write(group).await {
            BatchWriteOutcome::All => return,
            BatchWriteOutcome::GivenUp(first) => return self.try_on(first).await,
            BatchWriteOutcome::Refused(group) => group,
        };
        let alone = group.len() == 1;
        for entry in group {
            if alone {
                self.refused(&[entry]);
                continue;
            }
            if entry.is_given_up() {
                self.dropped(&[entry]);
                continue;
            }
            match self.write(vec![entry]).await {
                BatchWriteOutcome::All => {}
                BatchWriteOutcome::GivenUp(first) => self.try_on(first).await,
                BatchWriteOutcome::Refused(entry) => self.refused(&entry),
            }
        }
    }

    /// Writes batches, as often as it takes or until nobody waits for any of them.
    async fn write(&mut self, entries: Vec<QueueEntry>) -> BatchWriteOutcome {
        let items: Vec<Arc<SinkBatch>> = entries.iter().map(|entry| Arc::clone(&entry.item)).collect();
        let mut failures = 0;
        loop {
            match self.attempt(&items, &mut failures).await {
                WriteAttempt::Written => {
                    entries.into_iter().for_each(QueueEntry::taken);
                    return BatchWriteOutcome::All;
                }
                WriteAttempt::Refused => return BatchWriteOutcome::Refused(entries),
                WriteAttempt::Failed => {}
            }
            if let Some(first) = entries.first().filter(|_| entries.iter().all(QueueEntry::is_given_up)) {
                let first = Arc::new(first.item.first());
                self.dropped(&entries);
                self.writer.forget();
                return BatchWriteOutcome::GivenUp(first);
            }
        }
    }

    /// Writes one frame of what was given up, as often as it takes. It comes again, but whether the sink takes
    /// anything is known only by trying, and nothing else may come before it does.
    async fn try_on(&mut self, first: Arc<SinkBatch>) {
        let (items, mut failures) = ([first], LONG_AWAY);
        while !self.queue.is_closed()
            && matches!(self.attempt(&items, &mut failures).await, WriteAttempt::Failed)
        {}
    }

    /// Writes once; where that fails, waits before the next time.
    async fn attempt(&mut self, items: &[Arc<SinkBatch>], failures: &mut u32) -> WriteAttempt {
        let begun = Instant::now();
        self.state.begun(begun, self.writer.may_take(items));
        let outcome = AssertUnwindSafe(self.writer.write(items)).catch_unwind().await;
        match outcome.unwrap_or_else(|_| Err(panicked())) {
            Ok(()) => {
                let bytes = items.iter().map(|item| item.bytes).sum();
                self.counts.wrote(bytes, begun.elapsed());
                self.state.succeeded();
                return WriteAttempt::Written;
            }
            Err(error) => {
                self.failed(&error);
                if matches!(error, WriteError::Refused(_)) {
                    return WriteAttempt::Refused;
                }
            }
        }
        let asked = self.writer.asked_to_wait().unwrap_or_default();
        *failures = failures.saturating_add(1);
        self.pause(asked.max(BACKOFF.after(*failures, random_part()))).await;
        WriteAttempt::Failed
    }

    /// Counts what its server will never take.
    fn refused(&self, entries: &[QueueEntry]) {
        self.dropped(entries);
        self.counts.lost.inc_by(frames_of(entries));
    }

    fn dropped(&self, entries: &[QueueEntry]) {
        self.counts.dropped.inc_by(frames_of(entries));
    }

    /// Waits; a sink that is closed tries again sooner, as it has not long to live.
    async fn pause(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            sleep(left.min(PAUSE_MAX)).await;
            if left <= PAUSE_MAX || self.queue.is_closed() {
                return;
            }
        }
    }

    fn failed(&self, error: &WriteError) {
        self.counts.worker_errors.inc();
        match error {
            WriteError::Failed(what) => self.state.failed(what),
            WriteError::Refused(what) => self.state.refused(what),
        }
    }
}

fn panicked() -> WriteError {
    WriteError::Failed("its writer panicked".to_owned())
}

fn frames_of(entries: &[QueueEntry]) -> u64 {
    entries.iter().map(|entry| entry.item.frames() as u64).sum()
}
