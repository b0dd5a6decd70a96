//! Time as the store tells it.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// The last instant that RFC 3339 can write.
const WRITABLE_MAX: u64 = 253_402_300_799_000;

/// Milliseconds since the Unix epoch by the store's clock, which never goes back.
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

    /// How long it is from `earlier` to this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
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

/// The whole milliseconds of `duration`, at most `u64::MAX`.
pub fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
