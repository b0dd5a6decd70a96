//! Faults that this node has noticed in its audit trail.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counted since the start of the daemon.
#[derive(Debug, Default)]
pub struct AuditFaults {
    noticed: AtomicU64,
    stopped: OnceLock<String>,
    failing: Mutex<Option<String>>,
}

impl AuditFaults {
    /// Counts one more.
    pub fn note(&self) {
        self.noticed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn noticed(&self) -> u64 {
        self.noticed.load(Ordering::Relaxed)
    }

    /// Notes that this node seals no more until an operator has acted and started it again. True: it is the
    /// first time.
    pub fn stop(&self, why: String) -> bool {
        self.stopped.set(why).is_ok()
    }

    /// Notes why records cannot be sealed now; `None`: they can.
    pub fn note_failing(&self, why: Option<String>) {
        *self.failing.lock() = why;
    }

    /// Reason why records are not sealed, be it that it is tried again.
    pub fn unsealed(&self) -> Option<String> {
        let stopped = self.stopped().map(str::to_owned);
        stopped.or_else(|| self.failing.lock().clone())
    }

    /// Reason why nothing is sealed any more; `None` while records are sealed.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }
}
