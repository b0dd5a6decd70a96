//! Snapshots: the registry as it is at one moment, and what is put back of it.

mod mount;
mod restore;
mod save;

use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_nouns::feed::WatchPlaces;
use omnirelay_nouns::merge::RecordMergers;
use omnirelay_nouns::serve;
use omnirelay_registry::Registry;
use omnirelay_store::{Record, RecordId, RecordKind, Revision, Version};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

pub use mount::mount;
use pb::snapshot_service_server::SnapshotService;

/// Kinds of records that snapshots have of the registry.
pub struct SnapshotRecordKinds {
    /// Held in memory by every daemon; in the order in which they are put back, parts before what they are parts of.
    pub held: Vec<RecordKind>,
    /// Read from the store: nothing else rests on them.
    pub others: Vec<RecordKind>,
    /// The audit trail and its seals, read from the store.
    pub audit: RecordKind,
    pub seals: RecordKind,
}

impl SnapshotRecordKinds {
    /// The kind of this name.
    fn named(&self, name: &str) -> Option<&RecordKind> {
        self.held.iter().chain(self.stored()).find(|kind| *kind.0 == *name)
    }

    /// The kinds that are read from the store.
    fn stored(&self) -> impl Iterator<Item = &RecordKind> {
        self.others.iter().chain([&self.seals, &self.audit])
    }
}

/// Serves `SnapshotService`.
pub struct Snapshots {
    pub registry: Arc<Registry>,
    pub kinds: Arc<SnapshotRecordKinds>,
    pub mergers: Arc<RecordMergers>,
    pub cluster_id: String,
    /// How many are saved at once.
    pub places: WatchPlaces,
}

serve! {
    SnapshotService for Snapshots {
        restore(RestoreSnapshotRequest) -> RestoreSnapshotResponse: |of, caller, asked| of.restore_some(caller, asked);
        [SaveStream] save(SaveSnapshotRequest) -> SnapshotItem: |of, _, asked| of.begin_save(asked);
    }
}

/// A record as a snapshot has it.
fn saved(record: &Record) -> pb::SnapshotRecord {
    pb::SnapshotRecord {
        kind: record.id.kind.0.to_string(),
        key: record.id.key.clone(),
        value: record.value.clone().into(),
        version: record.version.0.max(1),
        revision: record.revision.0,
        created_at_ms: record.created_at.0,
        updated_at_ms: record.updated_at.0,
        writer: record.writer.to_string(),
    }
}

/// The record of this kind that a snapshot has.
fn record_of(kind: RecordKind, saved: pb::SnapshotRecord) -> Record {
    Record {
        id: RecordId::new(kind, saved.key),
        value: saved.value.into(),
        version: Version(saved.version),
        revision: Revision(saved.revision),
        group: None,
        created_at: Millis(saved.created_at_ms),
        updated_at: Millis(saved.updated_at_ms),
        writer: saved.writer.into(),
        deleted: false,
    }
}
