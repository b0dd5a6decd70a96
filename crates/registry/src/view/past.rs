//! View of a moment that is over: what is held now, with every change since undone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_store::{Lease, LogEntry, Record, RecordId, RecordKind, Revision};
use tokio::time::Instant;

use super::records::OrderedRecords;
use super::{RegistryHead, View, ViewRecord, read, write};

/// Copy of what a view holds, from which changes are undone. Records are shared with the view.
pub(crate) struct ViewCopy {
    pub head: RegistryHead,
    records: BTreeMap<RecordKind, Arc<Vec<Arc<ViewRecord>>>>,
    leases: BTreeMap<String, Lease>,
}

/// Changes of the log behind a revision, as what each record was before the first of them.
#[derive(Default)]
pub(crate) struct UndoneChanges {
    before: HashMap<RecordId, Option<Record>>,
    /// Scopes whose leases have changed; what they were before is not in the log.
    scopes: BTreeSet<String>,
    bytes: usize,
}

impl UndoneChanges {
    /// Takes in the next entry of the log, in its order.
    pub(crate) fn take_in(&mut self, entry: &LogEntry) {
        for change in &entry.changes {
            let id = &change.after.id;
            if !self.before.contains_key(id) {
                let before = change.before.as_ref().map_or(0, |before| before.value.len());
                self.bytes += id.key.len() + before + size_of::<Record>();
                self.before.insert(id.clone(), change.before.clone());
            }
        }
        let changed = entry.leases.iter().map(|lease| &lease.scope).chain(&entry.forgotten);
        self.scopes.extend(changed.cloned());
    }

    /// Bytes of their keys, and of the values that records had.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl View {
    /// Copies the records of all kinds that nobody signs, and the leases.
    pub(crate) fn copy(&self) -> ViewCopy {
        let state = read(&self.state);
        let unsigned = self.mirrored.iter().filter(|kind| !state.signed.has_kind(kind));
        let records = unsigned.map(|kind| (kind.clone(), state.shared_list(kind).records)).collect();
        ViewCopy { head: state.head, records, leases: state.leases.clone() }
    }
}

impl ViewCopy {
    /// View of the moment `at`, whose last commit has this revision. Nothing is known of groups then, so that every record lives that
    /// is in it, and of leases that have changed since.
    pub(crate) fn undo(self, undone: UndoneChanges, at: Millis, revision: Revision) -> View {
        let epoch = self.head.epoch;
        let mut before: BTreeMap<RecordKind, BTreeMap<String, Option<Record>>> = BTreeMap::new();
        for (id, record) in undone.before {
            before.entry(id.kind).or_default().insert(id.key, record);
        }
        let mut kinds = BTreeMap::new();
        for (kind, records) in self.records {
            let changed = before.remove(&kind).unwrap_or_default();
            let unchanged = records.iter().filter(|record| !changed.contains_key(&record.record.id.key));
            let mut all = OrderedRecords::unindexed(unchanged.cloned());
            for record in changed.into_values().flatten().filter(|record| !record.deleted) {
                all.put(Arc::new(ViewRecord::new(epoch, record)));
            }
            kinds.insert(kind, all);
        }
        let mirrored: Vec<RecordKind> = kinds.keys().cloned().collect();
        let past = View::new(&mirrored);
        let head = RegistryHead { revision, ..self.head };
        let mut state = write(&past.state);
        state.head = head;
        state.loaded = revision;
        state.kinds = kinds;
        state.leases = self.leases;
        state.leases.retain(|scope, _| !undone.scopes.contains(scope));
        drop(state);
        past.head.send_replace(head);
        past.connectivity.note_answer(at, epoch, Instant::now());
        past
    }
}
