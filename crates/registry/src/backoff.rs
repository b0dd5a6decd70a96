//! Backoff: how long to wait before the store is asked again.

use std::time::Duration;

use omnirelay_core::backoff::Backoff;
use tokio::time::sleep;

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// The failures in a row of who asks the store.
#[derive(Debug, Default)]
pub struct StoreFailures(u32);

impl StoreFailures {
    /// Notes one more, and waits.
    pub async fn wait(&mut self) {
        self.0 = self.0.saturating_add(1);
        // Without chance: a simulated mesh is the same for the same seed.
        sleep(BACKOFF.after(self.0, 0.0)).await;
    }
}
