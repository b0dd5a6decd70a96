//! Group refresh: how long what a producer advertises lives, and when the group that carries it is refreshed.

use std::ops::Add;
use std::time::Duration;

/// This part of a TTL before its end, what was pushed is not taken for new any more: two clocks are compared.
const CLOCKS_PART: u32 = 16;
/// A push refreshes a group again once this part of its time to live is over: not for every one of a thousand.
const REFRESH_PART: u32 = 8;

/// Time for which the entries of a producer are kept when it pushes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKeeping {
    /// As long as this process does.
    WhileRunning,
    /// Their group is refreshed once more, so that a producer that pushes once in a TTL never blinks.
    OnceMore,
    /// One TTL.
    NotAtAll,
}

impl EntryKeeping {
    /// Whether an entry is advertised whatever becomes of the group that carried it. Its producer has pushed it so long ago;
    /// `None`: not since this process started.
    pub fn wants(self, pushed_ago: Option<Duration>, ttl: Duration) -> bool {
        match self {
            Self::WhileRunning => pushed_ago.is_some(),
            Self::OnceMore | Self::NotAtAll => pushed_ago.is_some_and(|ago| ago < ttl - ttl / CLOCKS_PART),
        }
    }
}

/// Times at which a group was refreshed, and is to be again, by the clock of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRefresh<T> {
    /// When it was opened or refreshed last, by this process.
    pub refreshed: Option<T>,
    /// When to refresh it without being told; `None`: not at all.
    pub refresh_at: Option<T>,
}

impl<T> Default for GroupRefresh<T> {
    fn default() -> Self {
        Self { refreshed: None, refresh_at: None }
    }
}

impl<T: Copy + Ord + Add<Duration, Output = T>> GroupRefresh<T> {
    /// Whether it is to be refreshed at `now`. In a new session (`anew`), what was refreshed before is at once, so that others see
    /// it confirmed; where nothing of it `lasts`, it is refreshed only as a push has asked for it.
    pub fn is_due(&self, keeping: EntryKeeping, now: T, anew: bool, lasts: impl FnOnce() -> bool) -> bool {
        let is_asked = self.refresh_at.is_some_and(|at| at <= now);
        let is_new = keeping == EntryKeeping::WhileRunning && self.refresh_at.is_none();
        let is_anew = anew && keeping != EntryKeeping::NotAtAll && self.refreshed.is_some();
        is_asked || (is_new || is_anew) && lasts()
    }

    /// Notes that its producer has pushed at `now`, while the store can be reached; whether to refresh it now. Only a push puts
    /// off the end of what is refreshed once more.
    pub fn push(&mut self, keeping: EntryKeeping, now: T, ttl: Duration) -> bool {
        self.refresh_at = (keeping != EntryKeeping::NotAtAll).then(|| now + ttl / 2);
        let is_fresh = self.refreshed.is_some_and(|at| now < at + ttl / REFRESH_PART);
        !is_fresh || keeping == EntryKeeping::NotAtAll
    }

    /// Notes that the store has refreshed it, which was asked at `asked`. A push has set when to do it once more; what
    /// was done without one is the last time, but for what lives as long as this process.
    pub fn answer(&mut self, keeping: EntryKeeping, asked: T, ttl: Duration) {
        self.refreshed = Some(asked);
        self.refresh_at = match keeping {
            EntryKeeping::WhileRunning => Some(asked + ttl / 2),
            EntryKeeping::OnceMore | EntryKeeping::NotAtAll => self.refresh_at.filter(|at| *at > asked),
        };
    }
}

#[cfg(test)]
#[path = "group_refresh_test.rs"]
mod tests;
