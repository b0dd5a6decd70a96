//! How a sink is doing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::daemon::relay::RELAY_RUNBOOK;

/// How a sink is doing, for whoever asks whether the relay is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkHealth {
    /// `file`, `redis`, `http` or `stdout`.
    pub name: &'static str,
    pub healthy: bool,
    /// By the wall clock; `None` while it is healthy.
    pub failing_since: Option<SystemTime>,
    /// What failed last; `None` while it is healthy.
    pub what: Option<String>,
}

/// What a sink's worker and those who wait for it know of each other.
pub(super) struct State {
    name: &'static str,
    /// How long a sink may do nothing for those who wait before it counts as failing.
    pub patience: Duration,
    now: Mutex<Now>,
}

struct Now {
    /// When it has last written something.
    progress: Instant,
    /// Since when it writes; `None`: it does not.
    writing: Option<Instant>,
    failing: Option<(SystemTime, String)>,
}

impl State {
    pub fn new(name: &'static str, patience: Duration) -> Self {
        let now = Now { progress: Instant::now(), writing: None, failing: None };
        Self { name, patience, now: Mutex::new(now) }
    }

    pub fn begun(&self, at: Instant) {
        self.lock().writing = Some(at);
    }

    /// Something was written.
    pub fn succeeded(&self) {
        let mut now = self.lock();
        now.progress = Instant::now();
        now.writing = None;
        let failed = now.failing.take();
        drop(now);
        if failed.is_some() {
            info!(sink = self.name, "sink recovered");
        }
    }

    /// It goes on to the next batch, though this one was not written.
    pub fn answered(&self) {
        self.lock().progress = Instant::now();
    }

    pub fn failed(&self, what: &str) {
        let mut now = self.lock();
        now.writing = None;
        let since = now.failing.as_ref().map(|(since, _)| *since);
        now.failing = Some((since.unwrap_or_else(SystemTime::now), what.to_owned()));
        drop(now);
        if since.is_none() {
            warn!(sink = self.name, error = what, runbook = RELAY_RUNBOOK, "sink failed");
        }
    }

    /// Until when somebody should wait who has waited since `since`.
    pub fn patient_until(&self, since: Instant) -> Instant {
        self.lock().progress.max(since) + self.patience
    }

    /// Whether it fails, or hangs, and has written nothing for longer than one should wait.
    pub fn is_stuck(&self) -> bool {
        let now = self.lock();
        let hanging = now.writing.is_some_and(|since| since.elapsed() > self.patience);
        (now.failing.is_some() || hanging) && now.progress.elapsed() > self.patience
    }

    pub fn health(&self) -> SinkHealth {
        let now = self.lock();
        let hanging = now.writing.map(|since| since.elapsed()).filter(|elapsed| *elapsed > self.patience);
        let (failing_since, what) = match (&now.failing, hanging) {
            (Some((since, what)), _) => (Some(*since), Some(what.clone())),
            (None, Some(elapsed)) => {
                (SystemTime::now().checked_sub(elapsed), Some("a write does not end".to_owned()))
            }
            (None, None) => (None, None),
        };
        SinkHealth { name: self.name, healthy: what.is_none(), failing_since, what }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
