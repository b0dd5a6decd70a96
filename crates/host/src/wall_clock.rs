//! The wall clock of this host, which may be wrong and may jump: what is to hold among nodes goes by the store's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// How often whoever waits for an instant of the wall clock looks at it. It may jump, and it goes on while the host is
/// suspended, when the clock of all timers stands still. Higher: what was due then happens so much later after waking.
pub const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How far store time and the wall clock of a host may be apart before that is told. Certificates are dated this much and more
/// before they are issued.
pub const CLOCKS_APART: Duration = Duration::from_secs(60);

/// The time since 1970; zero where the clock says that it is before that.
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The second of the Unix time; 0 before 1970.
pub fn unix_seconds() -> i64 {
    i64::try_from(unix().as_secs()).unwrap_or(i64::MAX)
}

/// Sleep, at most [`LOOK_EVERY`], before the clock is looked at again by whoever waits for the second `due` of the Unix
/// time. Zero once it has come.
pub fn look_again(due: i64) -> Duration {
    let left = u64::try_from(due.saturating_sub(unix_seconds())).unwrap_or(0);
    LOOK_EVERY.min(Duration::from_secs(left))
}

/// Waits until the clock shows the second `due` of the Unix time.
pub async fn sleep_until(due: i64) {
    loop {
        let left = look_again(due);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

/// Waits until so much time has passed, also where the host is suspended meanwhile.
pub async fn sleep(length: Duration) {
    let begun = WallClockStamp::now();
    while let Some(left) = length.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// An instant whose age counts the time in which the host was suspended.
#[derive(Clone, Copy, Debug)]
pub struct WallClockStamp {
    at: Instant,
    wall: Duration,
}

impl WallClockStamp {
    /// This instant.
    pub fn now() -> Self {
        Self { at: Instant::now(), wall: unix() }
    }

    /// Time elapsed since then, by the clock of timers or the wall clock, whichever says more: of the two only the
    /// first stands still, and only the second goes back.
    pub fn elapsed(&self) -> Duration {
        self.at.elapsed().max(unix().saturating_sub(self.wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_the_wall_clock_looks_at_it_twice_a_minute() {
        let now = unix_seconds();
        let (hour, soon) = (look_again(now + 3600), look_again(now + 3));
        assert!(hour <= Duration::from_secs(30) && !hour.is_zero(), "{hour:?}");
        assert!(soon <= Duration::from_secs(3), "{soon:?}");
        assert_eq!(look_again(now - 1), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_age_counts_what_timers_do_not() {
        let suspended =
            WallClockStamp { at: Instant::now(), wall: unix().saturating_sub(Duration::from_secs(7200)) };
        assert!(suspended.elapsed() >= Duration::from_secs(7200), "{:?}", suspended.elapsed());
        let begun = Instant::now();
        sleep(Duration::from_secs(100)).await;
        assert!(begun.elapsed() >= Duration::from_secs(100), "{:?}", begun.elapsed());
    }
}
