//! The audit record of a mutation, which is committed together with it.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_decisions::audit_seal::mac::MacKey;
use omnirelay_host::chance::random_u64;
use omnirelay_store::{RecordId, RecordKind, Write};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message;
use xxhash_rust::xxh64::xxh64;

use super::view::ViewEntry;

/// Audit records; not mirrored, because there are many and few are read.
pub const AUDIT: RecordKind = RecordKind::of("audit");

/// What a node records when it meets a new epoch of the registry.
pub const EPOCH_CHANGED: &str = "registry.epoch-changed";

/// Body of the audit record of something that a node did by itself: no caller asked for it.
pub fn own_body(node_id: &str, action: &str, object: String, changes: Vec<String>) -> AuditValue {
    AuditValue {
        actor: node_id.to_owned(),
        action: action.to_owned(),
        object,
        node_id: node_id.to_owned(),
        changes,
        ..AuditValue::default()
    }
}

/// Cause of the change of a record by a commit, with who had it made and why: the audit record of the commit that is
/// about it and calls it the same, or is about it, or else the first.
pub fn cause_of(entry: &ViewEntry, object: &RecordId, verb: &str) -> Option<Arc<AuditValue>> {
    let records = entry.changes.iter().filter(|change| change.after.record.id.kind == AUDIT);
    let causes: Vec<Arc<AuditValue>> =
        records.filter_map(|change| change.live()?.value::<AuditValue>()).collect();
    let (object, suffix) = (object.to_string(), format!(".{}", verb.replace('_', "-")));
    let fit = |cause: &&Arc<AuditValue>| {
        (usize::from(cause.object == object) << 1) + usize::from(cause.action.ends_with(&suffix))
    };
    // Of several that fit alike the first.
    causes.iter().rev().max_by_key(fit).cloned()
}

/// A new key for a record of this time: keys sort by it, and nobody can guess one, to stand there first. `else_by` tells
/// records apart where there is no chance.
pub fn record_key(now: Millis, else_by: &[u8]) -> String {
    // Without chance, what is different of two records of one millisecond keeps them apart.
    let number = random_u64().unwrap_or_else(|_| xxh64(else_by, now.0));
    format!("{}-{number:016x}", oldest_key(now.0))
}

/// The smallest key that a record of this time or later can have.
pub fn oldest_key(ms: u64) -> String {
    format!("{ms:013x}")
}

/// The time that a key of a record begins with; 0 when it is no such key.
pub fn made_at(key: &str) -> u64 {
    key.split_once('-').and_then(|(ms, _)| u64::from_str_radix(ms, 16).ok()).unwrap_or(0)
}

/// The write that records it, under a key that sorts by time.
///
/// Without a key for its MAC, where nothing is sealed, a record has none.
pub fn write(now: Millis, body: AuditValue, mac: Option<&MacKey>) -> Write {
    write_under(record_key(now, body.request_id.as_bytes()), body, mac)
}

/// The write that records it under this key.
pub fn write_under(key: String, body: AuditValue, mac: Option<&MacKey>) -> Write {
    let value = match mac {
        Some(mac) => mac.mark(&key, body),
        None => body.encode_to_vec(),
    };
    Write::Put { id: RecordId::new(AUDIT, key), value: Bytes::from(value), group: None }
}

/// How many records an audit record names.
const NAMED_MAX: usize = 100;

/// As many lines as an audit record takes.
pub fn named(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(NAMED_MAX);
    lines.truncate(NAMED_MAX);
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines
}
