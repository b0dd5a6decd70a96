//! Readable form of an audit record, as every surface and every export shows it.

use omnirelay_wire::pb::omnirelay::security::v1::AuditRecord;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use omnirelay_wire::timestamp::Timestamp;

use super::audit_seal::StoredRecord;

/// Reads a stored record. `value` is what its bytes were decoded to; `None` when they are no record.
pub fn readable(record: &StoredRecord<'_>, value: Option<AuditValue>) -> AuditRecord {
    let time = value.is_some().then(|| timestamp(record.created_at_ms));
    let value = value.unwrap_or_default();
    AuditRecord {
        record_id: record.key.to_owned(),
        revision: record.revision,
        time,
        actor: value.actor,
        action: value.action,
        object: value.object,
        reason: value.reason,
        node_id: value.node_id,
        request_id: value.request_id,
        dry_run: value.dry_run,
        changes: value.changes,
        sealed: false,
        refused: value.refused,
        count: value.count,
        refusal: value.refusal,
        first_at: value.first_at,
        last_at: value.last_at,
    }
}

fn timestamp(ms: u64) -> Timestamp {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: (ms % 1000) as i32 * 1_000_000 }
}
