//! The audit record of a mutation, which is committed together with it.

use bytes::Bytes;
use prost::Message;

use crate::core::time::Millis;
use crate::daemon::registry::mutate::Mutation;
use crate::daemon::store::{Kind, RecordId, Write};
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

/// The write that records it, under a key that sorts by time.
pub fn write(now: Millis, body: &AuditValue) -> Write {
    let mut chance = [0u8; 8];
    // Without chance two records of one millisecond could only collide, which the commit's
    // precondition-free put would show as a rewrite; the request id keeps them apart.
    if getrandom::fill(&mut chance).is_err() {
        chance = xxhash_rust::xxh64::xxh64(body.request_id.as_bytes(), now.0).to_be_bytes();
    }
    let key = format!("{:013x}-{:016x}", now.0, u64::from_be_bytes(chance));
    Write::Put { id: RecordId::new(AUDIT, key), value: Bytes::from(body.encode_to_vec()), group: None }
}
