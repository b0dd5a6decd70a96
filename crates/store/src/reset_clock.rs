//! Bringing store time back, once it is ahead of all clocks: by an operator's word, and in a new epoch.

use std::time::Duration;

use omnirelay_core::time::Millis;

use super::{Epoch, StoreError};

/// By how much store time has to be ahead to be brought back: less is not worth a new epoch.
pub const RESET_MIN: Duration = Duration::from_secs(60);
/// How far the clock that the store goes by may be from that of whoever orders this. It would be wrong again at once.
pub const RESET_WALLS_MAX: Duration = Duration::from_secs(60);

/// Request to bring store time back.
#[derive(Clone, Copy, Debug)]
pub struct ResetClock {
    /// The epoch that the caller knows: in another one nothing is done, so that repeating it does not begin two.
    pub epoch: Epoch,
    /// What the wall clock of the caller shows.
    pub wall: Millis,
    /// True: say what would be done, and do nothing.
    pub dry_run: bool,
}

/// Result of bringing store time back, be it done or a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReset {
    /// The epoch that has begun; after a dry run the one that goes on.
    pub epoch: Epoch,
    pub before: Millis,
    pub now: Millis,
}

/// Error of bringing store time back. Nothing was changed, unless the store says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ResetClockError {
    #[error("store time is not ahead of the clock that it goes by, by {} s at least", RESET_MIN.as_secs())]
    NotAhead,
    /// The store's own clock is the wrong one, or the caller's.
    #[error("the clock that the store goes by shows another time than that of the daemon")]
    ClocksDiffer {
        /// What the store's own clock shows.
        store: Millis,
    },
    #[error("the store has no time that could be brought back")]
    Unsupported,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ResetClock {
    /// Whether it may be done to a store whose time is `now` and whose own clock shows `wall`.
    pub(crate) fn check(&self, epoch: Epoch, now: Millis, wall: Millis) -> Result<(), ResetClockError> {
        if self.epoch != epoch {
            return Err(StoreError::EpochChanged { current: epoch }.into());
        }
        if self.wall.since(wall).max(wall.since(self.wall)) > RESET_WALLS_MAX {
            return Err(ResetClockError::ClocksDiffer { store: wall });
        }
        if now.since(wall) < RESET_MIN { Err(ResetClockError::NotAhead) } else { Ok(()) }
    }
}
