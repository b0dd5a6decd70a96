//! Records as clusters send them to each other, and the writes by which another cluster has the same.

use bytes::Bytes;
use omnirelay_cluster_records::domain::{DomainKind, DomainMembers};
use omnirelay_core::ranges::RangePrefix;
use omnirelay_core::time::Millis;
use omnirelay_registry::view::View;
use omnirelay_store::{
    ExistingRecord, KEY_BYTES_MAX, Record, RecordId, RecordKind, RecordOrigin, Revision, VALUE_BYTES_MAX,
    Version, Write,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::RANGE_KEY;

/// Kinds of a domain, and which of their records are of it.
#[derive(Clone)]
pub(crate) struct DomainScope {
    pub kinds: std::sync::Arc<[DomainKind]>,
    pub members: DomainMembers,
}

impl DomainScope {
    /// Whether a record is of the domain, by its kind, key and value.
    pub(crate) fn has(&self, id: &RecordId, value: &[u8]) -> bool {
        let kind = self.kinds.iter().find(|kind| kind.kind == id.kind);
        kind.is_some_and(|kind| self.members.has(&kind.namespace_of(&id.key, value)))
    }

    /// Whether a write leaves records of other domains alone: neither what it writes is of one, nor what is held under its id.
    pub(crate) fn may_write(&self, view: &View, write: &Write) -> bool {
        let id = write.id();
        let held = view.get(id);
        // What is not held says by its key alone of which domain it is.
        let of_held = |held: Option<&[u8]>| self.has(id, held.unwrap_or_default());
        match (write.value(), held.as_ref().map(|held| &*held.record.value)) {
            (Some(value), None) => self.has(id, value),
            (Some(value), held) => self.has(id, value) && of_held(held),
            (None, held) => of_held(held),
        }
    }

    /// Number of the records of the domain that a view holds.
    pub(crate) fn held(&self, view: &View) -> usize {
        let of_kind = |kind: &DomainKind| {
            let records = view.list(&kind.kind).records;
            records.iter().filter(|held| self.has(&held.record.id, &held.record.value)).count()
        };
        self.kinds.iter().map(of_kind).sum()
    }

    /// The kind of this name, if records of it can be of the domain.
    pub(crate) fn kind(&self, name: &str) -> Option<&DomainKind> {
        self.kinds.iter().find(|kind| *kind.kind.0 == *name)
    }
}

/// Fingerprints of all records of the kinds of a domain that a view holds; none where other domains have some of them.
pub(crate) fn fingerprints(view: &View, scope: &DomainScope) -> Vec<pb::KindFingerprint> {
    if !scope.members.is_alone() {
        return Vec::new();
    }
    let compared = view.compared_kinds();
    let held = scope.kinds.iter().map(|kind| &kind.kind).filter(|kind| compared.contains(kind));
    let of = |kind: &RecordKind| {
        let all = view.with_ranges(kind, |sums| sums.sum(RangePrefix::ALL).fingerprint(RANGE_KEY));
        pb::KindFingerprint { kind: kind.0.to_string(), fingerprint: all.to_vec() }
    };
    held.map(of).collect()
}

/// A record as it is sent.
pub(crate) fn told(record: &Record) -> pb::DomainRecord {
    pb::DomainRecord {
        kind: record.id.kind.0.to_string(),
        key: record.id.key.clone(),
        deleted: record.deleted,
        version: record.version.0,
        revision: record.revision.0,
        created_ms: record.created_at.0,
        updated_ms: record.updated_at.0,
        writer: record.writer.to_string(),
        value: record.value.clone().into(),
    }
}

/// The record that was sent, as it is in the other cluster; `None`: it is of no kind of the domain.
pub(crate) fn record_of(scope: &DomainScope, sent: pb::DomainRecord) -> Option<Record> {
    let kind = scope.kind(&sent.kind)?.kind.clone();
    Some(Record {
        id: RecordId::new(kind, sent.key),
        value: Bytes::from(sent.value),
        version: Version(sent.version),
        revision: Revision(sent.revision),
        group: None,
        created_at: Millis(sent.created_ms),
        updated_at: Millis(sent.updated_ms),
        writer: sent.writer.into(),
        deleted: sent.deleted,
    })
}

/// Reason why a record of another cluster is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedRecord {
    #[error("`{0}` is a kind that is not followed")]
    Kind(String),
    #[error("a record has a key, a writer or a value that no record can have")]
    Size,
}

/// The write by which a record that was sent is here as it is there; of one that is deleted there, by which it is here no more.
///
/// # Errors
/// [`RefusedRecord`].
pub(crate) fn write_of(scope: &DomainScope, sent: pb::DomainRecord) -> Result<Write, RefusedRecord> {
    let pb::DomainRecord { kind, key, deleted, version, revision, created_ms, updated_ms, writer, value } =
        sent;
    let kind = scope.kind(&kind).ok_or(RefusedRecord::Kind(kind))?.kind.clone();
    let is_sound = (1..=KEY_BYTES_MAX).contains(&key.len())
        && writer.len() <= KEY_BYTES_MAX
        && value.len() <= VALUE_BYTES_MAX;
    if !is_sound {
        return Err(RefusedRecord::Size);
    }
    let id = RecordId::new(kind, key);
    if deleted {
        return Ok(Write::Delete { id });
    }
    let origin = RecordOrigin {
        version: Version(version),
        revision: Revision(revision),
        created_at: Millis(created_ms),
        updated_at: Millis(updated_ms),
        writer: writer.into(),
    };
    Ok(Write::Import { id, value: Bytes::from(value), origin, existing: ExistingRecord::Replace })
}

/// Whether a record is here as it was sent.
pub(crate) fn is_same(held: &Record, sent: &pb::DomainRecord) -> bool {
    !sent.deleted
        && held.version.0 == sent.version
        && held.revision.0 == sent.revision
        && held.created_at.0 == sent.created_ms
        && held.updated_at.0 == sent.updated_ms
        && *held.writer == *sent.writer
        && held.value == sent.value
}
