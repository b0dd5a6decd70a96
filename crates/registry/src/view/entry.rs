//! View entries: commits of the log as the view has them, decoded at most once for all watchers.

use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_store::{Epoch, Lease, Record, RecordChange, Revision};

use super::record::ViewRecord;

/// One commit of the log with its records decoded at most once for all watchers.
pub struct ViewEntry {
    pub revision: Revision,
    pub previous: Revision,
    pub at: Millis,
    /// The changes of mirrored and followed kinds.
    pub changes: Vec<ViewChange>,
    /// The leases that were acquired or released.
    pub leases: Vec<Lease>,
}

impl ViewEntry {
    /// The bytes of the values in it.
    pub(super) fn value_bytes(&self) -> usize {
        let of = |record: &Arc<ViewRecord>| record.record.value.len();
        let change = |change: &ViewChange| change.before.as_ref().map_or(0, of) + of(&change.after);
        self.changes.iter().map(change).sum()
    }
}

/// One record's change.
pub struct ViewChange {
    pub before: Option<Arc<ViewRecord>>,
    /// A tombstone when it was deleted.
    pub after: Arc<ViewRecord>,
}

impl ViewChange {
    /// A change as the log of this epoch has it.
    pub fn of(epoch: Epoch, change: &RecordChange) -> Self {
        let record = |record: &Record| Arc::new(ViewRecord::new(epoch, record.clone()));
        Self { before: change.before.as_ref().map(record), after: record(&change.after) }
    }

    /// The record after the change, unless it was deleted.
    pub fn live(&self) -> Option<&Arc<ViewRecord>> {
        (!self.after.record.deleted).then_some(&self.after)
    }
}
