//! Totals of what a view holds, as limits count it.

use std::sync::Arc;

use omnirelay_store::{RecordId, Version};

use super::lock::ReadGuard;
use super::{State, View, ViewRecord, read};

/// Totals of what a view holds: its records, and the bytes of their keys and values. Those that are over and not deleted yet are among
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordTotals {
    pub records: u64,
    pub bytes: u64,
}

/// Versions of the records that a view holds, read under one lock. Hold it shortly, and ask the view nothing meanwhile.
pub struct HeldVersions<'a>(ReadGuard<'a, State>);

impl HeldVersions<'_> {
    /// Version of a record, over or not; 0 of one that is not held.
    pub fn of(&self, id: &RecordId) -> Version {
        self.record(id).map_or(Version(0), |held| held.record.version)
    }

    fn record(&self, id: &RecordId) -> Option<&Arc<ViewRecord>> {
        self.0.kinds.get(&id.kind)?.get(&id.key)
    }
}

impl View {
    /// Versions of the records that are held, at one moment.
    pub fn held_versions(&self) -> HeldVersions<'_> {
        HeldVersions(read(&self.state))
    }

    /// Totals of all mirrored kinds.
    pub fn totals(&self) -> RecordTotals {
        let state = read(&self.state);
        state.kinds.values().fold(RecordTotals::default(), |totals, of_kind| RecordTotals {
            records: totals.records + of_kind.len() as u64,
            bytes: totals.bytes + of_kind.bytes(),
        })
    }

    /// Version and bytes of a record that is held, over or not; 0 of one that is not.
    pub fn held_version(&self, id: &RecordId) -> (Version, u64) {
        let versions = self.held_versions();
        versions.record(id).map_or((Version(0), 0), |held| (held.record.version, held.bytes()))
    }
}
