//! The store's time in a test whose own time stands still.

use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_store::{Clock, MemoryStore};
use tokio::time::Instant;

/// Tokio's time as the store's: both stand still together.
#[derive(Clone, Copy)]
pub struct PausedClock(pub Instant);

impl Clock for PausedClock {
    fn now(&self) -> Millis {
        Millis(1_795_000_000_000).after(self.0.elapsed())
    }
}

/// A fresh store in tokio's time.
pub fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(PausedClock(Instant::now())))
}
