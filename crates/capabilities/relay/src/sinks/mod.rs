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
mod reopen;
mod stdout;
mod worker;

#[cfg(test)]
mod reload_test;
#[cfg(test)]
mod sinks_test;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_host::log::LogLimiter;
use omnirelay_settings::Backpressure;
use parking_lot::{Mutex, RwLock};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::RELAY_RUNBOOK;
use super::batch::FrameBatch;
use crate::metrics::sinks::SinkCounts;
use envelope::SinkBatch;
use health::SinkState;
use open::SinkOpener;
use queue::{DurableSignal, Queue, QueueRefusal, Ticket};
use worker::{SinkWorker, SinkWriter};

pub use health::SinkHealth;
pub(crate) use open::{SINKS, type_name};
pub use open::{SinkError, SinkSpec, sink_specs};

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
    opener: SinkOpener,
    current: RwLock<Arc<Vec<Arc<Sink>>>>,
    /// Those that others have replaced, until they have written what they had by then.
    retired: Mutex<Vec<Arc<Sink>>>,
}

/// Batch that was handed to the sinks.
#[must_use = "a batch is safe only when `done` says so"]
#[derive(Default)]
pub struct HandedBatch {
    refused: Option<NotTaken>,
    waits: Vec<SinkWait>,
}

/// Kind of a sink: what it is, beside what it writes to.
#[derive(Clone, PartialEq)]
struct SinkKind {
    name: &'static str,
    acknowledges: bool,
    /// How long it may do nothing before those who wait give up.
    patience: Duration,
}

struct Sink {
    /// As what it was opened.
    spec: SinkSpec,
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
        for sink in &*self.current() {
            match sink.offer(&item) {
                Err(QueueRefusal::Full) if sink.when_full != WhenFull::Drop => blocked.push(sink.clone()),
                // Another one may have taken its place.
                Err(QueueRefusal::Closed) => blocked.push(sink.clone()),
                outcome => handed.note(sink, &item, outcome),
            }
        }
        if !blocked.is_empty() {
            let outcomes = join_all(blocked.into_iter().map(|sink| self.hand(sink, &item))).await;
            for (sink, outcome) in outcomes.into_iter().flatten() {
                handed.note(&sink, &item, outcome);
            }
        }
        handed
    }

    /// Hands a batch to a sink, or to the one that takes its place meanwhile; waits for room. `None`: it is not wanted any more. What was
    /// to be acknowledged by a sink that has gone is refused, so that its agent sends it again to whatever acknowledges by then.
    async fn hand(
        &self,
        mut sink: Arc<Sink>,
        item: &Arc<SinkBatch>,
    ) -> Option<(Arc<Sink>, Result<Option<DurableSignal>, QueueRefusal>)> {
        loop {
            let outcome = match sink.offer(item) {
                Err(QueueRefusal::Full) if sink.when_full != WhenFull::Drop => sink.wait(item).await,
                outcome => outcome,
            };
            if !matches!(outcome, Err(QueueRefusal::Closed)) {
                return Some((sink, outcome));
            }
            let name = sink.name();
            let next = self.current().iter().find(|next| next.name() == name).cloned();
            let next = next.filter(|next| next.acknowledges() || !sink.acknowledges());
            match next {
                Some(next) if !Arc::ptr_eq(&next, &sink) => sink = next,
                Some(_) => return Some((sink, outcome)),
                None if sink.acknowledges() => return Some((sink, outcome)),
                None => return None,
            }
        }
    }

    /// Health of each sink.
    pub fn health(&self) -> Vec<SinkHealth> {
        self.current().iter().map(|sink| sink.state.health()).collect()
    }

    /// Writes what waits, for as long as it may take, and ends. Nothing is taken any more.
    pub async fn close(&self, within: Duration) {
        let end = Instant::now() + within;
        let all = self.all();
        all.iter().for_each(|sink| sink.queue.close());
        join_all(all.iter().map(|sink| sink.end(end))).await;
    }

    fn current(&self) -> Arc<Vec<Arc<Sink>>> {
        self.current.read().clone()
    }

    /// Those that take frames, and those that still write some.
    fn all(&self) -> Vec<Arc<Sink>> {
        self.current().iter().chain(self.retired.lock().iter()).cloned().collect()
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        for sink in self.all() {
            sink.queue.close();
            if let Some(worker) = sink.take_worker() {
                worker.abort();
            }
        }
    }
}

impl Sink {
    /// Starts the task that writes.
    fn start(spec: SinkSpec, writer: Box<dyn SinkWriter>, counts: SinkCounts) -> Self {
        let SinkSpec { kind, queue, .. } = &spec;
        let state = Arc::new(SinkState::new(kind.name, kind.acknowledges, kind.patience));
        let waiting = Arc::new(Queue::new(queue.size, queue.bytes_max, counts.clone()));
        let worker =
            SinkWorker { queue: waiting.clone(), writer, state: Arc::clone(&state), counts: counts.clone() };
        Self {
            when_full: WhenFull::of(queue.backpressure, kind.acknowledges),
            spec,
            queue: waiting,
            state,
            counts,
            told: LogLimiter::new(1, TOLD_EVERY),
            worker: Mutex::new(Some(tokio::spawn(worker.run()))),
        }
    }

    fn name(&self) -> &'static str {
        self.spec.kind.name
    }

    fn acknowledges(&self) -> bool {
        self.spec.kind.acknowledges
    }

    fn offer(&self, item: &Arc<SinkBatch>) -> Result<Option<DurableSignal>, QueueRefusal> {
        self.queue.offer(item, self.spec.ticket)
    }

    /// Waits for room.
    async fn wait(&self, item: &Arc<SinkBatch>) -> Result<Option<DurableSignal>, QueueRefusal> {
        let mut room = std::pin::pin!(self.queue.wait(item, self.spec.ticket));
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
        if !self.acknowledges() {
            self.counts.lost.inc_by(frames);
        }
        self.counts.relay_errors.inc_by(frames);
        let sink = self.name();
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
        self.spec.kind.acknowledges.then_some(why)
    }

    fn tell_full(&self) {
        if self.told.turn().is_some() {
            let (sink, frames) = (self.name(), self.queue.frames());
            if self.spec.kind.acknowledges {
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

    /// Whether it has written all that it will.
    fn is_over(&self) -> bool {
        self.worker.lock().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends without what it still has. Returns how many frames that are.
    fn give_up(&self) -> usize {
        self.take_worker().iter().for_each(JoinHandle::abort);
        self.left()
    }

    /// How many frames are left in its queue, which it will not write. Those whose agents still wait come again.
    fn left(&self) -> usize {
        let frames = self.queue.frames();
        if self.spec.ticket == Ticket::No {
            self.counts.lost.inc_by(frames as u64);
        }
        frames
    }

    fn take_worker(&self) -> Option<JoinHandle<()>> {
        self.worker.lock().take()
    }

    async fn end(&self, end: Instant) {
        let Some(mut worker) = self.take_worker() else { return };
        if timeout_at(end, &mut worker).await.is_err() {
            worker.abort();
            let (sink, frames) = (self.name(), self.left());
            warn!(sink, frames, runbook = RELAY_RUNBOOK, "sink ended with frames in its queue");
        }
    }
}

impl HandedBatch {
    fn note(&mut self, sink: &Sink, item: &SinkBatch, outcome: Result<Option<DurableSignal>, QueueRefusal>) {
        match outcome {
            Ok(None) => {}
            Ok(Some(taken)) => {
                let (sink, state) = (sink.name(), Arc::clone(&sink.state));
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
