//! Stops a node's thread without its knowledge.

use parking_lot::{Condvar, Mutex};

/// Holds a thread for as long as it is frozen.
#[derive(Default)]
pub(super) struct Freezer {
    frozen: Mutex<bool>,
    thawed: Condvar,
}

impl Freezer {
    /// Freezes it, or lets it go on.
    pub(super) fn set(&self, frozen: bool) {
        *self.frozen.lock() = frozen;
        self.thawed.notify_all();
    }

    /// Blocks the calling thread until it is thawed.
    pub(super) fn hold(&self) {
        self.thawed.wait_while(&mut self.frozen.lock(), |frozen| *frozen);
    }
}
