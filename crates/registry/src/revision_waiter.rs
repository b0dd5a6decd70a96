//! Revision waiters: how far somebody who follows the registry has come, as others see it.

use std::time::Duration;

use omnirelay_store::Revision;
use tokio::sync::watch;
use tokio::time::timeout;

/// Revision through which somebody has come. It can be read and waited for, and not be told by whoever holds it.
#[derive(Clone)]
pub struct RevisionWaiter(watch::Receiver<Revision>);

impl RevisionWaiter {
    /// Revision by now.
    pub fn now(&self) -> Revision {
        *self.0.borrow()
    }

    /// Waits at most `limit` for a revision; whether it was reached.
    pub async fn wait_for(&self, revision: Revision, limit: Duration) -> bool {
        let mut through = self.0.clone();
        let reached = timeout(limit, through.wait_for(|through| *through >= revision)).await;
        matches!(reached, Ok(Ok(_)))
    }
}

impl From<watch::Receiver<Revision>> for RevisionWaiter {
    fn from(through: watch::Receiver<Revision>) -> Self {
        Self(through)
    }
}
