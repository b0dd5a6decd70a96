//! Writes: how one record changes.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::time::Millis;

use super::{GroupRef, RecordId, Revision, Version};

/// The greatest version and revision of an [`RecordOrigin`], and its latest time in ms: half of what a double can still count, so
/// that those of the store go on from there.
pub const ORIGIN_MAX: u64 = 1 << 52;

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Writes the value; a group binds the record's life to it and must be live.
    Put { id: RecordId, value: Bytes, group: Option<GroupRef> },
    /// Leaves a tombstone; nothing happens if there is no record, or its group is over.
    Delete { id: RecordId },
    /// Writes a record of another registry as it was there, bound to no group. `existing` says what becomes of a record that is
    /// here, and which version the imported one gets.
    ///
    /// The revision of the log entry is above all that are imported in it, so that none is given out again; what else is written
    /// in the commit has that one.
    Import { id: RecordId, value: Bytes, origin: RecordOrigin, existing: ExistingRecord },
}

/// Fate of the record that an import finds under its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingRecord {
    /// It stays if its group is not over, and nothing happens. Otherwise the imported record has the version that it comes with,
    /// or the one that [`Write::Put`] would have given if that is greater: who puts a record back.
    Keep,
    /// It is replaced, whatever it is. The imported record has exactly the version that it comes with, also a lower one: who
    /// follows another registry, and has what that has.
    Replace,
}

impl ExistingRecord {
    /// Whether an import has an effect; `is_there`: a record is here whose group is not over.
    pub(super) fn gives_way(self, is_there: bool) -> bool {
        match self {
            Self::Keep => !is_there,
            Self::Replace => true,
        }
    }
}

/// Origin of a record: what it was in the registry that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOrigin {
    /// 1 to [`ORIGIN_MAX`].
    pub version: Version,
    /// 1 to [`ORIGIN_MAX`].
    pub revision: Revision,
    /// At most [`ORIGIN_MAX`], as `updated_at`, which may be later than store time.
    pub created_at: Millis,
    pub updated_at: Millis,
    /// At most [`KEY_BYTES_MAX`](super::KEY_BYTES_MAX) bytes, and empty where that store itself wrote it.
    pub writer: Arc<str>,
}

impl Write {
    /// The record it is about.
    pub fn id(&self) -> &RecordId {
        match self {
            Self::Put { id, .. } | Self::Delete { id } | Self::Import { id, .. } => id,
        }
    }

    /// The value that it writes; `None`: it deletes.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put { value, .. } | Self::Import { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }
}
