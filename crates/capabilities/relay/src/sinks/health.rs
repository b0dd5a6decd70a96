//! Health of a sink.

use std::time::{Duration, SystemTime};

use omnirelay_host::log::LogLimiter;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::RELAY_RUNBOOK;

/// So many writes that were refused one after the other are no accident of one batch.
const REFUSED_MAX: u32 = 10;
/// How long after the last of them a sink counts as failing: it may be that nothing comes any more.
const REFUSED_SHOWN: Duration = Duration::from_secs(60);
/// How often it is logged that a sink refuses.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Health of a sink, for whoever asks whether the relay is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkHealth {
    /// `file`, `redis`, `http` or `stdout`.
    pub name: &'static str,
    /// Whether frames are acknowledged only when it has them.
    pub acknowledges: bool,
    pub healthy: bool,
    /// By the wall clock; `None` while it is healthy.
    pub failing_since: Option<SystemTime>,
    /// What failed last; `None` while it is healthy.
    pub what: Option<String>,
}

/// State of a sink that its worker and those who wait for it share.
pub(super) struct SinkState {
    name: &'static str,
    acknowledges: bool,
    /// How long a sink may do nothing for those who wait before it counts as failing.
    pub patience: Duration,
    /// Limits the lines that say that it refused something.
    told: LogLimiter,
    now: Mutex<SinkActivity>,
}

/// Activity of a sink as it is now.
struct SinkActivity {
    /// When it has last written something.
    progress: Instant,
    /// Since when it writes, and how long that may take; `None`: it does not write.
    writing: Option<(Instant, Duration)>,
    failing: Option<(SystemTime, String)>,
    refusing: Option<RefusalStreak>,
}

/// Streak of refused writes, with none between them that was taken.
struct RefusalStreak {
    since: SystemTime,
    last: Instant,
    count: u32,
    what: String,
}

impl SinkState {
    pub(super) fn new(name: &'static str, acknowledges: bool, patience: Duration) -> Self {
        let now = SinkActivity { progress: Instant::now(), writing: None, failing: None, refusing: None };
        Self { name, acknowledges, patience, told: LogLimiter::new(1, TOLD_EVERY), now: Mutex::new(now) }
    }

    /// A write has begun that may take this long, and longer than the patience of those who wait.
    pub(super) fn begun(&self, at: Instant, within: Duration) {
        self.now.lock().writing = Some((at, within));
    }

    /// Something was written.
    pub(super) fn succeeded(&self) {
        let mut now = self.now.lock();
        now.progress = Instant::now();
        now.refusing = None;
        self.answered(now);
    }

    /// It will not have what it was given, and goes on to the next.
    pub(super) fn refused(&self, what: &str) {
        let mut now = self.now.lock();
        let at = Instant::now();
        now.progress = at;
        let (since, count) = match &now.refusing {
            Some(refusing) => (refusing.since, refusing.count.saturating_add(1)),
            None => (SystemTime::now(), 1),
        };
        now.refusing = Some(RefusalStreak { since, last: at, count, what: what.to_owned() });
        self.answered(now);
        if self.told.turn().is_some() {
            warn!(sink = self.name, error = what, "sink refused frames");
        }
    }

    fn answered(&self, mut now: MutexGuard<'_, SinkActivity>) {
        now.writing = None;
        let failed = now.failing.take();
        drop(now);
        if failed.is_some() {
            info!(sink = self.name, "sink recovered");
        }
    }

    pub(super) fn failed(&self, what: &str) {
        let mut now = self.now.lock();
        now.writing = None;
        let since = now.failing.as_ref().map(|(since, _)| *since);
        now.failing = Some((since.unwrap_or_else(SystemTime::now), what.to_owned()));
        drop(now);
        if since.is_none() {
            warn!(sink = self.name, error = what, runbook = RELAY_RUNBOOK, "sink failed");
        }
    }

    /// Time until when somebody should wait who has waited since `since`.
    pub(super) fn patient_until(&self, since: Instant) -> Instant {
        let now = self.now.lock();
        let until = now.progress.max(since) + self.patience;
        match now.writing {
            // What is large takes its time, once.
            Some((begun, within)) if now.failing.is_none() => until.max(begun + within),
            Some(_) | None => until,
        }
    }

    /// Whether it fails, or hangs, and has written nothing for longer than one should wait.
    pub(super) fn is_stuck(&self) -> bool {
        let now = self.now.lock();
        (now.failing.is_some() || now.hanging(self.patience).is_some())
            && now.progress.elapsed() > self.patience
    }

    pub(super) fn health(&self) -> SinkHealth {
        let now = self.now.lock();
        let refusing = now.refusing.as_ref();
        let refusing = refusing.filter(|r| r.count >= REFUSED_MAX && r.last.elapsed() < REFUSED_SHOWN);
        let (failing_since, what) = match (&now.failing, now.hanging(self.patience), refusing) {
            (Some((since, what)), _, _) => (Some(*since), Some(what.clone())),
            (None, Some(elapsed), _) => {
                (SystemTime::now().checked_sub(elapsed), Some("a write does not end".to_owned()))
            }
            (None, None, Some(refusing)) => (Some(refusing.since), Some(refusing.what.clone())),
            (None, None, None) => (None, None),
        };
        let (name, acknowledges) = (self.name, self.acknowledges);
        SinkHealth { name, acknowledges, healthy: what.is_none(), failing_since, what }
    }
}

impl SinkActivity {
    /// For how long it writes, if that is longer than it may take.
    fn hanging(&self, patience: Duration) -> Option<Duration> {
        let (since, within) = self.writing?;
        Some(since.elapsed()).filter(|elapsed| *elapsed > patience.max(within))
    }
}
