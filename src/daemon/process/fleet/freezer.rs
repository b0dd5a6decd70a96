//! Stops a node's thread without its knowledge.

use std::sync::{Condvar, Mutex, PoisonError};

use super::lock;

/// Holds a thread for as long as it is frozen.
#[derive(Default)]
pub(super) struct Freezer {
    frozen: Mutex<bool>,
    thawed: Condvar,
}

impl Freezer {
    /// Freezes it, or lets it go on.
    pub fn set(&self, frozen: bool) {
        *lock(&self.frozen) = frozen;
        self.thawed.notify_all();
    }

    /// Blocks the calling thread until it is thawed.
    pub fn hold(&self) {
        let frozen = lock(&self.frozen);
        drop(self.thawed.wait_while(frozen, |frozen| *frozen).unwrap_or_else(PoisonError::into_inner));
    }
}
