//! Status of one target: how far it agrees with the catalogue, as it is answered, logged and counted.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisementSyncState;
use omnirelay_wire::pb::omnirelay::registers::v1::advertisement_sync_state::Status;
use omnirelay_wire::timestamp::timestamp;
use parking_lot::Mutex;
use tracing::{debug, info, warn};

use super::target::{ResyncOutcome, ResyncTrouble, count};
use crate::metrics::RegistersMetrics;

/// Where operators read what to do.
const REGISTERS_RUNBOOK: &str = "docs/runbooks/registers.md";

/// The state of one target.
pub(super) struct TargetStatus {
    state: Mutex<AdvertisementSyncState>,
    metrics: Arc<RegistersMetrics>,
}

impl TargetStatus {
    /// Of a target that nothing was pushed to yet.
    pub(super) fn new(target: &str, metrics: Arc<RegistersMetrics>) -> Self {
        let state = AdvertisementSyncState {
            target: target.to_owned(),
            status: Status::Never.into(),
            ..AdvertisementSyncState::default()
        };
        Self { state: Mutex::new(state), metrics }
    }

    /// As it is now.
    pub(super) fn shown(&self) -> AdvertisementSyncState {
        self.state.lock().clone()
    }

    /// Notes that a run begins.
    pub(super) fn begin(&self, now: Millis) {
        let mut state = self.state.lock();
        state.set_status(Status::InProgress);
        state.last_attempt_at = Some(timestamp(now));
    }

    /// Notes when the next run is due that nobody demands; `None`: it goes on.
    pub(super) fn set_next(&self, now: Millis, wait: Option<Duration>) {
        self.state.lock().next_run_at = wait.map(|wait| timestamp(now.after(wait)));
    }

    /// Notes how a run ended, which was one of `all` or of some changes. What was refused in part has failed.
    pub(super) fn end(&self, now: Millis, run: &Result<ResyncOutcome, ResyncTrouble>, all: bool) {
        let mut state = self.state.lock();
        state.runs += 1;
        match run {
            Ok(outcome) => {
                state.last_run = Some(outcome.counts);
                state.runs_unchanged += u64::from(!outcome.changed);
                self.metrics.count_changes(&outcome.counts);
                self.note_drift(&mut state, outcome.drifted);
                log_run(&state.target, outcome);
                match refused(outcome) {
                    Some(error) => self.note_failure(&mut state, error),
                    // Changes do not mend what has failed before.
                    None if !all && state.failures > 0 => state.set_status(Status::Failed),
                    None => self.note_success(&mut state, outcome, now),
                }
            }
            Err(trouble) => self.note_failure(&mut state, trouble.message.clone()),
        }
    }

    /// Notes that a run was stopped before it was done; it counts as none.
    pub(super) fn stopped(&self) {
        let mut state = self.state.lock();
        let status = match (&*state, state.failures) {
            (_, 1..) => Status::Failed,
            (state, 0) if state.drifted > 0 => Status::Drift,
            (state, 0) if state.last_success_at.is_some() => Status::Success,
            (_, 0) => Status::Never,
        };
        state.set_status(status);
    }

    fn note_success(&self, state: &mut AdvertisementSyncState, outcome: &ResyncOutcome, now: Millis) {
        if state.failures > 0 {
            info!(pool = %state.target, failures = state.failures, "advertisements are pushed again");
        }
        state.failures = 0;
        state.error.clear();
        state.last_success_at = Some(timestamp(now));
        state.register_count = count(outcome.pushed);
        let drifts = state.drifted > 0;
        state.set_status(if drifts { Status::Drift } else { Status::Success });
        self.metrics.count_run(&state.target, if drifts { "drift" } else { "success" });
        self.metrics.set_last_success(&state.target, now);
    }

    fn note_failure(&self, state: &mut AdvertisementSyncState, error: String) {
        if state.failures == 0 {
            warn!(pool = %state.target, error, "advertisements could not be pushed; trying again");
        } else {
            debug!(pool = %state.target, error, failures = state.failures, "advertisements could still not be pushed");
        }
        state.failures = state.failures.saturating_add(1);
        state.error = error;
        state.set_status(Status::Failed);
        self.metrics.count_run(&state.target, "failed");
    }

    fn note_drift(&self, state: &mut AdvertisementSyncState, drifted: usize) {
        let (before, drifted) = (state.drifted, count(drifted));
        state.drifted = drifted;
        self.metrics.set_drift(&state.target, drifted);
        if before == drifted {
            return;
        }
        let pool = &state.target;
        if drifted > 0 {
            warn!(
                pool,
                drifted,
                runbook = REGISTERS_RUNBOOK,
                "advertisements are kept that the catalogue does not explain"
            );
        } else {
            info!(pool, drifted = before, "no advertisement is unexplained any more");
        }
    }
}

fn log_run(pool: &str, outcome: &ResyncOutcome) {
    let counts = &outcome.counts;
    let (added, updated, removed) = (counts.added, counts.updated, counts.removed);
    if outcome.changed {
        info!(pool, added, updated, removed, deferred = counts.deferred, "advertisements brought up to date");
    } else {
        debug!(pool, processed = counts.processed, "advertisements were up to date");
    }
}

/// Why a run failed that was refused in part.
fn refused(outcome: &ResyncOutcome) -> Option<String> {
    let first = outcome.failed.first()?;
    let (failed, id) = (outcome.failed.len(), &first.register_id);
    if id.is_empty() {
        return Some(first.message.clone());
    }
    Some(format!("{failed} of the registers were refused, the first `{id}`: {}", first.message))
}
