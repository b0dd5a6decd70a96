//! The pause after a failure of the link.

use std::time::Duration;

use omnirelay_core::backoff::Backoff;
use tokio::time::Instant;

use crate::chance::random_part;

/// A connection that lasted so long counts as a success: what comes after it is tried at once.
pub(super) const SETTLED: Duration = Duration::from_millis(500);

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), SETTLED);

/// The pause after a failure.
#[derive(Debug, Default)]
pub(super) struct RetryPause {
    failures: u32,
    until: Option<Instant>,
}

impl RetryPause {
    /// Whether the pause after the last failure is still on.
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Begins a pause, longer than the one before.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        // Without chance the daemons come together, which a server survives.
        self.until = Some(Instant::now() + BACKOFF.after(self.failures, random_part()));
    }

    /// Forgets all failures.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_half_a_second() {
        let mut retry_pause = RetryPause::default();
        for expected in [20, 40, 80, 160, 320, 500, 500, 500] {
            assert!(!retry_pause.is_on());
            retry_pause.failed();
            let longest = Duration::from_millis(expected);
            tokio::time::advance(longest * 3 / 4 - Duration::from_millis(1)).await;
            assert!(retry_pause.is_on(), "{expected} ms: at least three quarters");
            tokio::time::advance(longest / 4 + Duration::from_millis(1)).await;
            assert!(!retry_pause.is_on(), "{expected} ms: not longer");
        }
        retry_pause.failed();
        retry_pause.succeeded();
        assert!(!retry_pause.is_on());
    }
}
