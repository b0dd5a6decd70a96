//! The records that this node committed and has not sealed yet, so that one that is taken away before is
//! missed.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_store::{Epoch, LogEntry, RecordChange};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::audit_record::AUDIT;

/// The most records that are remembered; what comes beyond is not missed.
const AWAITING_MAX: usize = 8192;
/// How long a record may take to come by before it is looked for in the store.
const OVERDUE_AFTER: Duration = Duration::from_secs(5);
/// The most records that are looked for at once.
const LOOKS_MAX: usize = 64;

/// Audit record that no seal names yet.
#[derive(Clone, Copy, Debug)]
struct UnsealedRecord {
    /// The epoch that it was committed in.
    epoch: Epoch,
    /// When it was committed, or looked for last.
    seen: Instant,
}

/// Audit records that the store has confirmed and no seal names yet, by their keys.
#[derive(Debug, Default)]
pub struct AwaitingSeal(Mutex<BTreeMap<String, UnsealedRecord>>);

impl AwaitingSeal {
    /// Takes note of a commit of this node that the store has confirmed.
    pub fn note(&self, epoch: Epoch, entry: &LogEntry) {
        let made = UnsealedRecord { epoch, seen: Instant::now() };
        // What was put back of a snapshot was made and sealed elsewhere.
        let is_made =
            |change: &&RecordChange| change.after.id.kind == AUDIT && change.after.revision == entry.revision;
        for change in entry.changes.iter().filter(is_made) {
            let mut awaiting = self.0.lock();
            if !change.after.deleted && awaiting.len() < AWAITING_MAX {
                awaiting.insert(change.after.id.key.clone(), made);
            }
        }
    }

    /// Number of records that await their seal.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Takes note of a record that is in a seal.
    pub fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }

    /// Those that have taken too long to come by, and the epoch that each was committed in.
    pub fn overdue(&self) -> Vec<(String, Epoch)> {
        let awaiting = self.0.lock();
        let overdue = awaiting.iter().filter(|(_, made)| made.seen.elapsed() >= OVERDUE_AFTER);
        overdue.take(LOOKS_MAX).map(|(key, made)| (key.clone(), made.epoch)).collect()
    }

    /// Has a record looked for again later.
    pub fn look_later(&self, key: &str) {
        if let Some(made) = self.0.lock().get_mut(key) {
            made.seen = Instant::now();
        }
    }
}
