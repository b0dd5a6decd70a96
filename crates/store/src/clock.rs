//! Clocks from which a backend without one of its own gets the store's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use omnirelay_core::time::{Millis, whole_ms};

/// By how much the wall clock is ahead before store time follows it. Lower: each small step of the clock gives every group
/// time again. Higher: store time stays so much behind.
pub const FOLLOWED_MIN: Duration = Duration::from_secs(1);

/// A source of time that never goes back while the process runs.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> Millis;

    /// What the clock on the wall shows, which may have jumped, and went on while the machine slept. By default the same.
    fn wall(&self) -> Millis {
        self.now()
    }
}

/// The wall clock as it was at the start, moved on by the monotonic one.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    wall: Millis,
    started: Instant,
}

/// A clock that stands still until it is moved. Its clones move together.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now: Arc<AtomicU64>,
    wall_ahead_ms: Arc<AtomicI64>,
}

/// The time of a store: that of a clock, from some instant on, which follows the wall clock forward and goes back by an
/// operator's word alone.
pub(crate) struct StoreTime {
    clock: Box<dyn Clock>,
    ahead_ms: AtomicI64,
}

impl SystemClock {
    /// Reads the wall clock once; a time before 1970 counts as 1970.
    pub fn start() -> Self {
        Self { wall: system_wall(), started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        self.wall.after(self.started.elapsed())
    }

    fn wall(&self) -> Millis {
        system_wall()
    }
}

fn system_wall() -> Millis {
    Millis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_ms))
}

impl ManualClock {
    /// A clock that shows `now`, as does the one on its wall.
    pub fn at(now: Millis) -> Self {
        Self { now: Arc::new(AtomicU64::new(now.0)), wall_ahead_ms: Arc::default() }
    }

    /// Moves the clock and all its clones forward, and returns the new time.
    pub fn advance(&self, by: Duration) -> Millis {
        let by = whole_ms(by);
        Millis(self.now.fetch_add(by, Ordering::SeqCst).saturating_add(by))
    }

    /// Sets by how many ms the clock on the wall is ahead of this one; below 0: behind.
    pub fn set_wall_ahead(&self, ms: i64) {
        self.wall_ahead_ms.store(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Millis {
        Millis(self.now().0.saturating_add_signed(self.wall_ahead_ms.load(Ordering::SeqCst)))
    }
}

impl StoreTime {
    /// Time that is `written` now, or what the clock shows if that is later.
    pub(crate) fn at_least(clock: Box<dyn Clock>, written: Millis) -> Self {
        let time = Self { clock, ahead_ms: AtomicI64::new(0) };
        time.set(written.max(time.now()));
        time
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(self.clock.now().0.saturating_add_signed(self.ahead_ms.load(Ordering::SeqCst)))
    }

    pub(crate) fn wall(&self) -> Millis {
        self.clock.wall()
    }

    /// Time of the wall clock, where it is so far ahead that this time is to follow it: the machine has slept, or
    /// somebody has set the clock.
    pub(crate) fn left_behind(&self) -> Option<Millis> {
        let wall = self.wall();
        (wall.since(self.now()) >= FOLLOWED_MIN).then_some(wall)
    }

    /// Goes on from `now`.
    pub(crate) fn set(&self, now: Millis) {
        let clock = i64::try_from(self.clock.now().0).unwrap_or(i64::MAX);
        let ahead = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub(clock);
        self.ahead_ms.store(ahead, Ordering::SeqCst);
    }
}
