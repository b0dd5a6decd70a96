//! How long to wait before the store is asked again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const MAX: Duration = Duration::from_secs(2);

/// Waits that double from 50 ms to 2 s.
#[derive(Clone, Copy, Debug)]
pub struct Backoff(Duration);

impl Backoff {
    /// Begins with the shortest wait.
    pub fn new() -> Self {
        Self(FIRST)
    }

    /// Waits, each time twice as long as the last.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(MAX);
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}
