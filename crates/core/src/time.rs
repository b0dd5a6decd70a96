//! Time as the store tells it.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// The last instant that RFC 3339 can write.
const WRITABLE_MAX: u64 = 253_402_300_799_000;

/// How far ahead of what a node knows of store time a record may be dated: nodes hear of it within seconds. A date that is
/// further ahead is of before store time was brought back, which takes it back by a minute at least.
const DATED_AHEAD_MAX: Duration = Duration::from_secs(10);

/// Milliseconds since the Unix epoch by the store's clock, which goes back only by an operator's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The instant of a second of the Unix time; the epoch of one before it.
    pub fn of_unix(seconds: i64) -> Self {
        Self(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
    }

    /// This instant plus `duration`, at most the end of time.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_ms(duration)))
    }

    /// Duration from `earlier` to this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This date of a record, for whatever waits from it on: the epoch, which is long over, if it is of before store time
    /// was brought back. Waiting for it would take as long as store time was ahead. Not for what must not be done too soon.
    pub fn as_of(self, now: Self) -> Self {
        if self > now.after(DATED_AHEAD_MAX) { Self(0) } else { self }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An instant as `2026-01-31T09:30:00Z`, at most the end of the year 9999.
pub fn rfc3339(at: Millis) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at.0.min(WRITABLE_MAX));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A duration with one unit: the largest of which there are two, or seconds.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{:.1}s", duration.as_secs_f64()),
        1..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The whole milliseconds of `duration`, at most `u64::MAX`.
pub fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_before_time_was_brought_back_is_long_over() {
        let now = Millis(1_000_000);
        for (date, expected) in
            [(0, 0), (999_999, 999_999), (1_010_000, 1_010_000), (1_010_001, 0), (u64::MAX, 0)]
        {
            assert_eq!(Millis(date).as_of(now), Millis(expected), "{date}");
        }
    }
}
