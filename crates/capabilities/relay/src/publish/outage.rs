//! Outage of the Redis: since when it has not answered, and how long it is left in peace.

use std::time::Duration;

use omnirelay_core::backoff::Backoff;
use omnirelay_host::chance::random_part;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::server::RedisConnectionError;

/// What an operator reads when keys are not published.
pub(super) const KEYS_RUNBOOK: &str = "docs/runbooks/relay.md";
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// Outage of the Redis, told when it begins and when it ends.
#[derive(Default)]
pub(super) struct Outage(Mutex<State>);

#[derive(Default)]
struct State {
    since: Option<Instant>,
    /// How many attempts in a row have failed.
    failures: u32,
}

impl Outage {
    /// Notes that the Redis did not answer.
    pub(super) fn failed(&self, address: &str, error: &RedisConnectionError) {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        if state.since.is_some() {
            debug!(address, %error, cause, "keys could still not be published");
            return;
        }
        state.since = Some(Instant::now());
        warn!(address, %error, cause, runbook = KEYS_RUNBOOK, "keys could not be published; trying again");
    }

    /// Notes that it answers.
    pub(super) fn ended(&self, address: &str) {
        let mut state = self.0.lock();
        if let Some(since) = state.since.take() {
            let duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            info!(address, duration_ms, "keys are published again");
        }
        state.failures = 0;
    }

    /// Forgets it: what has failed is not asked any more.
    pub(super) fn forget(&self) {
        *self.0.lock() = State::default();
    }

    /// Duration of the outage so far; `None`: there is none.
    pub(super) fn lasts(&self) -> Option<Duration> {
        self.0.lock().since.map(|since| since.elapsed())
    }

    /// Pause before the next attempt.
    pub(super) fn pause(&self) -> Duration {
        BACKOFF.after(self.0.lock().failures, random_part())
    }
}
