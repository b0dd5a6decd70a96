//! Sinks of telemetry: files, a Redis Stream, an HTTP server, standard output.
//!
//! Each sink has a queue and a task of its own, so that one that is slow or fails stops no other.

mod envelope;
mod file;
mod health;
mod http;
mod open;
mod queue;
mod redis;
mod stdout;
mod worker;

#[cfg(test)]
mod sinks_test;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_host::log::LogLimiter;
use omnirelay_settings::{AcknowledgeWhen, Backpressure, QueueConfig};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::RELAY_RUNBOOK;
use super::batch::FrameBatch;
use crate::metrics::sinks::SinkCounts;
use envelope::SinkBatch;
use health::SinkState;
use queue::{DurableSignal, Queue, QueueRefusal, Ticket};
use worker::{SinkWorker, SinkWriter};

pub use health::SinkHealth;
pub use open::SinkError;

/// How often those who wait for room look whether the sink still writes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is logged that a sink has no room.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Reason why a sink does not have a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There was no room in its queue.
    #[error("sink `{sink}` has no room")]
    Full { sink: &'static str },
    /// It could not write it.
    #[error("sink `{sink}` could not write")]
    Failed { sink: &'static str },
}

/// All sinks of a relay.
pub struct Sinks {
    sinks: Vec<Sink>,
}

/// Batch that was handed to the sinks.
#[must_use = "a batch is safe only when `done` says so"]
#[derive(Default)]
pub struct HandedBatch {
    refused: Option<NotTaken>,
    waits: Vec<SinkWait>,
}

/// Kind of a sink: what it is, beside what it writes to.
struct SinkKind {
    name: &'static str,
    acknowledges: bool,
    /// How long it may do nothing before those who wait give up.
    patience: Duration,
}

struct Sink {
    kind: SinkKind,
    ticket: Ticket,
    when_full: WhenFull,
    queue: Arc<Queue>,
    state: Arc<SinkState>,
    counts: SinkCounts,
    /// Limits the lines that say that there is no room.
    told: LogLimiter,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// Treatment of a batch that finds no room in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenFull {
    Drop,
    /// It waits while the sink goes on writing.
    WaitForProgress,
    Wait,
}

impl WhenFull {
    fn of(set: Option<Backpressure>, acknowledges: bool) -> Self {
        match set {
            Some(Backpressure::Drop) => Self::Drop,
            Some(Backpressure::Block) => Self::Wait,
            None if acknowledges => Self::WaitForProgress,
            None => Self::Drop,
        }
    }
}

/// Wait for one sink.
struct SinkWait {
    sink: &'static str,
    state: Arc<SinkState>,
    since: Instant,
    taken: DurableSignal,
}

impl Sinks {
    /// Hands a batch to every sink; waits where one that has no room blocks, when all others have it. Frames may be
    /// acknowledged when [`HandedBatch::done`] says so.
    pub async fn take(&self, batch: Arc<FrameBatch>) -> HandedBatch {
        let item = Arc::new(SinkBatch::new(batch));
        let mut handed = HandedBatch::default();
        let mut blocked = Vec::new();
        for sink in &self.sinks {
            match sink.queue.offer(&item, sink.ticket) {
                Err(QueueRefusal::Full) if sink.when_full != WhenFull::Drop => blocked.push(sink),
                outcome => handed.note(sink, &item, outcome),
            }
        }
        if !blocked.is_empty() {
            let outcomes = join_all(blocked.iter().map(|sink| sink.wait(&item))).await;
            for (sink, outcome) in blocked.into_iter().zip(outcomes) {
                handed.note(sink, &item, outcome);
            }
        }
        handed
    }

    /// Health of each sink.
    pub fn health(&self) -> Vec<SinkHealth> {
        self.sinks.iter().map(|sink| sink.state.health()).collect()
    }

    /// Writes what waits, for as long as it may take, and ends. Nothing is taken any more.
    pub async fn close(&self, within: Duration) {
        let end = Instant::now() + within;
        self.sinks.iter().for_each(|sink| sink.queue.close());
        join_all(self.sinks.iter().map(|sink| sink.end(end))).await;
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        for sink in &self.sinks {
            sink.queue.close();
            if let Some(worker) = sink.take_worker() {
                worker.abort();
            }
        }
    }
}

impl Sink {
    /// Starts the task that writes.
    fn start(
        kind: SinkKind,
        writer: Box<dyn SinkWriter>,
        queue: &QueueConfig,
        when: AcknowledgeWhen,
        counts: SinkCounts,
    ) -> Self {
        let state = Arc::new(SinkState::new(kind.name, kind.acknowledges, kind.patience));
        let waiting = Arc::new(Queue::new(queue.size, queue.bytes_max, counts.clone()));
        let worker =
            SinkWorker { queue: waiting.clone(), writer, state: Arc::clone(&state), counts: counts.clone() };
        let ticket = match when {
            AcknowledgeWhen::Written | AcknowledgeWhen::Synced if kind.acknowledges => Ticket::Wanted,
            AcknowledgeWhen::Queued | AcknowledgeWhen::Written | AcknowledgeWhen::Synced => Ticket::No,
        };
        Self {
            ticket,
            when_full: WhenFull::of(queue.backpressure, kind.acknowledges),
            kind,
            queue: waiting,
            state,
            counts,
            told: LogLimiter::new(1, TOLD_EVERY),
            worker: Mutex::new(Some(tokio::spawn(worker.run()))),
        }
    }

    /// Waits for room.
    async fn wait(&self, item: &Arc<SinkBatch>) -> Result<Option<DurableSignal>, QueueRefusal> {
        let mut room = std::pin::pin!(self.queue.wait(item, self.ticket));
        loop {
            if self.when_full == WhenFull::WaitForProgress && self.state.is_stuck() {
                return Err(QueueRefusal::Stuck);
            }
            if let Ok(outcome) = timeout(LOOK_EVERY, &mut room).await {
                return outcome;
            }
        }
    }

    fn refused(&self, item: &SinkBatch, refusal: QueueRefusal) -> Option<NotTaken> {
        let frames = item.frames() as u64;
        self.counts.dropped.inc_by(frames);
        self.counts.relay_errors.inc_by(frames);
        let sink = self.kind.name;
        let why = match refusal {
            QueueRefusal::Full => {
                self.tell_full();
                NotTaken::Full { sink }
            }
            QueueRefusal::Stuck => {
                self.tell_full();
                NotTaken::Failed { sink }
            }
            QueueRefusal::Closed => NotTaken::Failed { sink },
        };
        self.kind.acknowledges.then_some(why)
    }

    fn tell_full(&self) {
        if self.told.turn().is_some() {
            let (sink, frames) = (self.kind.name, self.queue.frames());
            if self.kind.acknowledges {
                warn!(
                    sink,
                    frames,
                    runbook = RELAY_RUNBOOK,
                    "sink has no room: frames were not acknowledged"
                );
            } else {
                warn!(sink, frames, runbook = RELAY_RUNBOOK, "sink dropped frames: its queue is full");
            }
        }
    }

    fn take_worker(&self) -> Option<JoinHandle<()>> {
        self.worker.lock().take()
    }

    async fn end(&self, end: Instant) {
        let Some(mut worker) = self.take_worker() else { return };
        if timeout_at(end, &mut worker).await.is_err() {
            worker.abort();
            let (sink, frames) = (self.kind.name, self.queue.frames());
            warn!(sink, frames, runbook = RELAY_RUNBOOK, "sink ended with frames in its queue");
        }
    }
}

impl HandedBatch {
    fn note(&mut self, sink: &Sink, item: &SinkBatch, outcome: Result<Option<DurableSignal>, QueueRefusal>) {
        match outcome {
            Ok(None) => {}
            Ok(Some(taken)) => {
                let (sink, state) = (sink.kind.name, Arc::clone(&sink.state));
                self.waits.push(SinkWait { sink, state, since: Instant::now(), taken });
            }
            Err(refusal) => {
                let refused = sink.refused(item, refusal);
                self.refused = self.refused.take().or(refused);
            }
        }
    }

    /// Waits until every sink that acknowledges has the batch as durably as it was told to. Gives up on one that has
    /// written nothing at all for a few seconds.
    ///
    /// # Errors
    /// The first sink that will not have it, or may not.
    pub async fn done(self) -> Result<(), NotTaken> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        for wait in self.waits {
            wait.done().await?;
        }
        Ok(())
    }
}

impl SinkWait {
    async fn done(mut self) -> Result<(), NotTaken> {
        let failed = NotTaken::Failed { sink: self.sink };
        loop {
            let until = self.state.patient_until(self.since);
            match timeout_at(until, &mut self.taken).await {
                Ok(taken) => return taken.map_err(|_| failed),
                // It may have written others meanwhile.
                Err(_) if self.state.patient_until(self.since) <= until => return Err(failed),
                Err(_) => {}
            }
        }
    }
}
