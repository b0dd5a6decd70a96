//! The audit record of a mutation, which is committed together with it.

use bytes::Bytes;
use prost::Message;
use xxhash_rust::xxh64::xxh64;

use crate::core::time::Millis;
use crate::daemon::chance::random_u64;
use crate::daemon::registry::mutate::Mutation;
use crate::daemon::store::{Epoch, Kind, RecordId, Write};
use crate::wire::pb::omnirelay::store::v1::AuditValue;

/// Audit records; not mirrored, because there are many and few are read.
pub const AUDIT: Kind = Kind::of("audit");

/// What is recorded of a mutation.
pub fn body(mutation: &Mutation<'_>, changes: &[String], node_id: &str) -> AuditValue {
    AuditValue {
        actor: mutation.caller.principal.to_string(),
        action: mutation.action.to_owned(),
        object: mutation.object.to_string(),
        reason: mutation.reason.to_owned(),
        node_id: node_id.to_owned(),
        request_id: mutation.caller.request_id.to_string(),
        dry_run: mutation.dry_run,
        changes: changes.to_vec(),
    }
}

/// What is recorded of a new epoch that a node has met: no caller asked for it.
pub fn epoch_body(node_id: &str, epoch: Epoch, changes: Vec<String>) -> AuditValue {
    AuditValue {
        actor: node_id.to_owned(),
        action: "registry.epoch-changed".to_owned(),
        object: format!("registry/{:x}", epoch.0),
        node_id: node_id.to_owned(),
        changes,
        ..AuditValue::default()
    }
}

/// The write that records it, under a key that sorts by time.
pub fn write(now: Millis, body: &AuditValue) -> Write {
    // Without chance the request id keeps two records of one millisecond apart.
    let number = random_u64().unwrap_or_else(|_| xxh64(body.request_id.as_bytes(), now.0));
    let key = format!("{:013x}-{number:016x}", now.0);
    Write::Put { id: RecordId::new(AUDIT, key), value: Bytes::from(body.encode_to_vec()), group: None }
}
