//! Boot of the machine: what was written without a sync is there as long as it lasts.

use std::time::Duration;

use omnirelay_core::time::whole_ms;
use rustix::time::{ClockId, clock_gettime};

/// By how much the clock may have been set without anybody minding.
const CLOCK_SET_MAX: Duration = Duration::from_secs(1);

/// Boot of the machine: which one it is, and how its clocks stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineBoot {
    pub id: [u8; 16],
    /// By how much the clock on the wall is ahead of the one that nobody sets and that stands still while the machine
    /// sleeps, in ms.
    pub clock_ms: i64,
}

impl MachineBoot {
    /// This one; `None` where the machine does not tell.
    pub(super) fn of_machine() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let id = u128::from_str_radix(&digits, 16).ok()?.to_be_bytes();
        let ms = |clock| {
            let now = clock_gettime(clock);
            now.tv_sec * 1000 + now.tv_nsec / 1_000_000
        };
        Some(Self { id, clock_ms: ms(ClockId::Realtime) - ms(ClockId::Monotonic) })
    }

    /// Whether what was written then and not synced is there now, and what was said of time holds.
    pub(super) fn is_same(&self, then: &Self) -> bool {
        let set_ms = self.clock_ms.abs_diff(then.clock_ms);
        self.id == then.id && set_ms <= whole_ms(CLOCK_SET_MAX)
    }
}
