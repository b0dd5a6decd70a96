//! Keeps one target as the catalogue says.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::backoff::Backoff;
use omnirelay_host::chance::random_part;
use omnirelay_registry::Registry;
use omnirelay_registry::view::RegistryHead;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};

use super::inbox::{InboxPatience, PushInbox, PushWork};
use super::status::TargetStatus;
use super::target::{FailureWeight, NodeCatalogue, PoolTarget, ResyncOutcome};
use crate::metrics::RegistersMetrics;

/// After runs that failed.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).spread(0.5);
/// How long changes gather after a run: the first is pushed at once, and the rest of a burst together.
const GATHER: Duration = Duration::from_millis(50);

/// One target and what is known of it.
pub(super) struct TargetDriver {
    pub target: Arc<dyn PoolTarget>,
    pub inbox: PushInbox,
    pub status: TargetStatus,
    /// One run at a time.
    pub turn: Mutex<()>,
    /// It is to be driven no more.
    ended: watch::Sender<bool>,
}

/// Progress of a run: the changes that it has brought to the target.
pub(super) struct ResyncProgress {
    pub head: RegistryHead,
    pub work: PushWork,
}

impl TargetDriver {
    pub(super) fn new(target: Arc<dyn PoolTarget>, metrics: Arc<RegistersMetrics>) -> Self {
        let status = TargetStatus::new(target.name(), metrics);
        let ended = watch::Sender::new(false);
        Self { target, inbox: PushInbox::default(), status, turn: Mutex::default(), ended }
    }

    /// Ends the drive; a run that goes on is brought to its end.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Runs whenever there is work or a run is due, until its end; `brought` is told of each that succeeded.
    pub(super) async fn drive(&self, registry: &Registry, brought: impl Fn(&ResyncProgress)) {
        let (mut every, mut ended) = (self.target.every(), self.ended.subscribe());
        let mut pace = Pace::new();
        loop {
            let next = pace.next(every.get());
            let wait = next.saturating_duration_since(Instant::now());
            self.status.set_next(registry.view().now(), Some(wait));
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => return,
                () = self.inbox.wait(next, pace.patience()) => {}
                () = every.replaced() => continue,
            }
            let turn = self.turn.lock().await;
            let mut work = self.inbox.take();
            work.all |= pace.failing == Some(FailureWeight::Away) || Instant::now() >= next;
            self.status.set_next(registry.view().now(), None);
            let all = work.all;
            match self.run(registry, &work).await {
                Ok(head) => {
                    if pace.shows_changes(all) {
                        brought(&ResyncProgress { head, work });
                    }
                    pace.note_success(all);
                }
                Err(failing) => pace.note_failure(all, failing),
            }
            drop(turn);
            sleep(GATHER).await;
        }
    }

    /// One run.
    async fn run(&self, registry: &Registry, work: &PushWork) -> Result<RegistryHead, FailureWeight> {
        self.status.begin(registry.view().now());
        let catalogue = NodeCatalogue::read(registry);
        let run = if work.all {
            self.target.all(&catalogue).await
        } else {
            let drifted = self.status.shown().drifted as usize;
            let run = self.target.some(&catalogue, &work.ids).await;
            run.map(|outcome| ResyncOutcome { drifted, ..outcome })
        };
        self.status.end(registry.view().now(), &run, work.all);
        match run {
            Ok(outcome) if outcome.failed.is_empty() => Ok(catalogue.head),
            Ok(_) => Err(FailureWeight::Refused),
            Err(trouble) => Err(trouble.failing),
        }
    }
}

/// Pace of pushing: when is pushed next, after what has come before.
struct Pace {
    /// Since the last run of all that succeeded, the worst.
    failing: Option<FailureWeight>,
    failures: u32,
    /// When the last run of all has ended, or what has failed since.
    since: Instant,
    /// How long after that the next run of all is due; `None`: an interval.
    wait: Option<Duration>,
}

impl Pace {
    /// The first run of all is due at once.
    fn new() -> Self {
        Self { failing: None, failures: 0, since: Instant::now(), wait: Some(Duration::ZERO) }
    }

    /// When the next run of all is due, where there is one in each interval.
    fn next(&self, every: Duration) -> Instant {
        self.since + self.wait.unwrap_or(every)
    }

    /// Only a pool that takes nothing makes changes wait.
    fn patience(&self) -> InboxPatience {
        if self.failing == Some(FailureWeight::Away) {
            InboxPatience::UntilUrgent
        } else {
            InboxPatience::None
        }
    }

    /// Whether the pool shows all changes so far after a run that succeeded: none was refused before.
    fn shows_changes(&self, all: bool) -> bool {
        all || self.failing.is_none_or(|failing| failing == FailureWeight::Unread)
    }

    fn note_success(&mut self, all: bool) {
        if all {
            *self = Self { failing: None, failures: 0, since: Instant::now(), wait: None };
        }
    }

    fn note_failure(&mut self, all: bool, failing: FailureWeight) {
        // Changes that fail as well do not put off the run of all.
        if all || self.failing.is_none() {
            self.failures += 1;
            (self.since, self.wait) = (Instant::now(), Some(BACKOFF.after(self.failures, random_part())));
        }
        let before = self.failing.filter(|_| !all);
        self.failing = Some(before.map_or(failing, |before| before.max(failing)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_are_spread() {
        let whole: Vec<u64> = (1..=9).map(|failures| BACKOFF.after(failures, 0.0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(BACKOFF.after(u32::MAX, 1.0), Duration::from_secs(30));
        assert_eq!(BACKOFF.after(1, 1.0), Duration::from_millis(500));
        assert!((0..100).map(|_| random_part()).all(|part| (0.0..=1.0).contains(&part)));
    }
}
