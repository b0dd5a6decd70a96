//! Where a backend without a clock of its own gets the store's time from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use omnirelay_core::time::{Millis, whole_ms};

/// A source of time that never goes back while the process runs.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> Millis;
}

/// The wall clock as it was at the start, moved on by the monotonic one: a stepped wall clock
/// is not felt before the next start.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    wall: Millis,
    started: Instant,
}

/// A clock that stands still until it is moved. Its clones move together.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl SystemClock {
    /// Reads the wall clock once; a time before 1970 counts as 1970.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_ms);
        Self { wall: Millis(wall), started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        self.wall.after(self.started.elapsed())
    }
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Millis) -> Self {
        Self(Arc::new(AtomicU64::new(now.0)))
    }

    /// Moves the clock and all its clones forward, and returns the new time.
    pub fn advance(&self, by: Duration) -> Millis {
        let by = whole_ms(by);
        Millis(self.0.fetch_add(by, Ordering::SeqCst).saturating_add(by))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }
}
