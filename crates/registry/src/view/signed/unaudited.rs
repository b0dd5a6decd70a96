//! Signed records that a commit has written without an audit record that says so: whoever can sign has written to the store alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_store::{LogEntry, Record, RecordChange, RecordId};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message as _;
use ring::digest::{SHA256, digest};

use super::super::{View, read};
use super::{State, printable_start};
use crate::audit_record::AUDIT;

/// How many of them are noted.
const NOTED_MAX: usize = 1000;
/// How long they are told of, in milliseconds.
const TOLD_MS: u64 = 24 * 3600 * 1000;

/// A write of a signed record that no audit record tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnauditedWrite {
    /// Who wrote it, as it says itself.
    pub writer: Arc<str>,
    pub at: Millis,
}

impl State {
    /// Notes that a record which counts was written, and that no audit record tells of that.
    pub(super) fn note_unaudited(&mut self, written: &Record, at: Millis) {
        if !self.signed.demands_signatures() {
            return;
        }
        let noted = &mut self.signed.unaudited;
        noted.retain(|_, write| at.0 < write.at.0.saturating_add(TOLD_MS));
        if noted.len() < NOTED_MAX || noted.contains_key(&written.id) {
            noted.insert(written.id.clone(), UnauditedWrite { writer: printable_start(&written.writer), at });
        }
    }
}

/// Whether an audit record of the commit says that it has written this.
pub(super) fn is_named(change: &RecordChange, entry: &LogEntry) -> bool {
    let (name, hash) = (change.after.id.to_string(), digest(&SHA256, &change.after.value));
    let mut audits = entry.changes.iter().filter(|of| of.after.id.kind == AUDIT && !of.after.deleted);
    audits.any(|audit| {
        let value = AuditValue::decode(audit.after.value.clone()).unwrap_or_default();
        value.written.iter().any(|written| written.record == name && written.sha256 == hash.as_ref())
    })
}

impl View {
    /// The signed records that were written within the last day, as far as this daemon has followed the log, and that no audit
    /// record tells of.
    pub fn unaudited_writes(&self) -> BTreeMap<RecordId, UnauditedWrite> {
        let (now, state) = (self.now(), read(&self.state));
        let noted = state.signed.unaudited.iter();
        let young = noted.filter(|(_, write)| now.0 < write.at.0.saturating_add(TOLD_MS));
        young.map(|(id, write)| (id.clone(), write.clone())).collect()
    }
}
