//! How long the link leaves the servers in peace after a failure.

use std::time::Duration;

use tokio::time::Instant;

use crate::chance::random_part;

const FIRST: Duration = Duration::from_millis(20);
const MAX: Duration = Duration::from_millis(500);

/// A connection that lasted so long counts as a success: what comes after it is tried at once.
pub(super) const SETTLED: Duration = MAX;

/// Pauses that double from 20 ms to 500 ms, each shortened by up to a quarter at random, so that
/// the daemons of a mesh do not all come at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Whether the pause after the last failure is still on.
    pub fn is_on(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Begins a pause, longer than the one before.
    pub fn failed(&mut self) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        // Without chance the daemons come together, which a server survives.
        self.until = Some(Instant::now() + pause - pause.mul_f64(random_part() / 4.0));
    }

    /// Forgets all failures.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_half_a_second() {
        let mut backoff = Backoff::default();
        for expected in [20, 40, 80, 160, 320, 500, 500, 500] {
            assert!(!backoff.is_on());
            backoff.failed();
            let longest = Duration::from_millis(expected);
            tokio::time::advance(longest * 3 / 4 - Duration::from_millis(1)).await;
            assert!(backoff.is_on(), "{expected} ms: at least three quarters");
            tokio::time::advance(longest / 4 + Duration::from_millis(1)).await;
            assert!(!backoff.is_on(), "{expected} ms: not longer");
        }
        backoff.failed();
        backoff.succeeded();
        assert!(!backoff.is_on());
    }
}
