//! Exponential backoff: how long to wait before what has failed is tried again.

use std::time::Duration;

/// Pauses that double from the first to the longest, of each of which a part is left to chance: those who failed together
/// do not come back together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    spread: f64,
}

impl Backoff {
    /// Pauses from `first` to `longest`, each shortened by up to a quarter.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, spread: 0.25 }
    }

    /// The same, each shortened by up to this part, 0 to 1.
    #[must_use]
    pub const fn spread(self, spread: f64) -> Self {
        Self { spread, ..self }
    }

    /// The pause after so many failures in a row; none after 0. `chance` is a number of 0 to 1.
    pub fn after(&self, failures: u32, chance: f64) -> Duration {
        let Some(doubled) = failures.checked_sub(1) else { return Duration::ZERO };
        let whole = self.first.saturating_mul(1 << doubled.min(31)).min(self.longest);
        whole.mul_f64(1.0 - self.spread * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let whole: Vec<u64> = (0..=9).map(|failures| backoff.after(failures, 0.0).as_secs()).collect();
        assert_eq!(whole, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.after(u32::MAX, 1.0), Duration::from_secs(45));
        assert_eq!(backoff.after(2, 0.5), Duration::from_millis(1750));
        assert_eq!(backoff.spread(0.5).after(u32::MAX, 1.0), Duration::from_secs(30));
    }
}
