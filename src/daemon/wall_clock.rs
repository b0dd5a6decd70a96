//! The wall clock of this host, which may be wrong and may jump: what is to hold among nodes goes by the store's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970; zero where the clock says that it is before that.
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
