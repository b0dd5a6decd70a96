//! How often lines may be written that callers cause: whoever calls without pause must not fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets so many lines of one sort through at once, and after that one in each interval.
#[derive(Debug)]
pub struct Pace {
    at_once: u32,
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When all turns are there again; `None` before the first.
    rested_at: Option<Instant>,
    left_out: u64,
}

/// A line may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How many lines were not, since the last that was; `None` for none. The line says so.
    pub left_out: Option<u64>,
}

impl Pace {
    /// At least one at once.
    pub fn new(at_once: u32, every: Duration) -> Self {
        Self { at_once: at_once.max(1), every, state: Mutex::default() }
    }

    /// For lines of requests that each open something, or fail: 50 at once, then two a second.
    pub fn of_requests() -> Self {
        Self::new(50, Duration::from_millis(500))
    }

    /// A turn, if one is left; else the line is counted and not written.
    pub fn turn(&self) -> Option<Turn> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rested_at = state.rested_at.filter(|at| *at > now).unwrap_or(now) + self.every;
        if rested_at > now + self.every.saturating_mul(self.at_once) {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.rested_at = Some(rested_at);
        let left_out = std::mem::take(&mut state.left_out);
        Some(Turn { left_out: (left_out > 0).then_some(left_out) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_counted_and_told_with_the_next() {
        let pace = Pace::new(3, Duration::from_secs(1));
        let free = Some(Turn { left_out: None });
        assert_eq!([pace.turn(), pace.turn(), pace.turn()], [free; 3]);
        assert_eq!((0..100).filter_map(|_| pace.turn()).count(), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.turn(), Some(Turn { left_out: Some(100) }));
        assert_eq!(pace.turn(), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(pace.turn(), Some(Turn { left_out: Some(1) }));
        assert_eq!([pace.turn(), pace.turn(), pace.turn()], [free, free, None], "no more than at once");
    }
}
