//! Signed records of a load: verified before the view is locked for it, and judged before anybody can read them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_decisions::signed_record::{FoundRecord, RecordSigners, split};
use omnirelay_store::{Epoch, Record, RecordId, RecordKind, Revision, Version};

use super::super::records::OrderedRecords;
use super::{RegistryHead, State, View, ViewRecord, name, read};

/// Signatures of a load that were verified.
#[derive(Default)]
pub struct VerifiedSignatures {
    signers: Option<Arc<RecordSigners>>,
    /// The records that they have signed.
    signed: HashSet<RecordId>,
}

impl State {
    /// Judges what a load has read of signed records, in the place of which the view has `old` ones, with which it had come to
    /// `reached`; the log that was read with it ends at `end`.
    pub(in super::super) fn load_signed(
        &mut self,
        old: &BTreeMap<RecordKind, OrderedRecords>,
        verified: &VerifiedSignatures,
        reached: RegistryHead,
        (end, at): (Revision, Millis),
    ) {
        if self.signed.by.is_none() {
            return;
        }
        let before = std::mem::replace(&mut self.signed.epoch, self.head.epoch);
        self.signed.is_new_epoch = before != Epoch(0) && before != self.head.epoch;
        // Which epoch it is is kept as well.
        self.signed.changes += u64::from(before != self.head.epoch);
        // A host that knew of no signatures takes what it finds for as long as that counts.
        let is_first = self.signed.signers.is_none();
        let followed = Some(reached).filter(|reached| reached.caught_up && reached.epoch == self.head.epoch);
        let found = self.set_aside(old);
        self.signed.refused.clear();
        (self.signed.has_more_refused, self.signed.is_stale) = (false, false);
        let mut missing: HashSet<RecordId> = self.signed.held.keys().cloned().collect();
        for record in &found {
            let record = &record.record;
            missing.remove(&record.id);
            let is_as_known = self.signed.is_as_known(record);
            let counts = self.judge_loaded(record, (verified, is_first), (end, at));
            let is_beside =
                record.revision > end || followed.is_some_and(|head| record.revision <= head.revision);
            if counts && !is_as_known && !is_first && is_beside {
                self.note_unaudited(record, at);
            }
        }
        for id in missing {
            self.miss_signed(&id, at);
        }
        // What comes by the log is of somebody who writes now.
        self.signed.is_new_epoch = false;
    }

    /// Takes what was read of signed records out of the view, which shows what was known until something else counts; the authority
    /// first, by which all others are judged.
    fn set_aside(&mut self, old: &BTreeMap<RecordKind, OrderedRecords>) -> Vec<Arc<ViewRecord>> {
        let mut found: Vec<Arc<ViewRecord>> = Vec::new();
        for kind in &self.signed.kinds {
            let Some(records) = self.kinds.get_mut(kind) else { continue };
            let is_signed = |record: &&Arc<ViewRecord>| self.signed.is_signed(&record.record.id);
            let read: Vec<_> = records.iter().filter(is_signed).cloned().collect();
            read.iter().for_each(|record| records.remove(&record.record.id.key));
            let known = old.get(kind).into_iter().flat_map(OrderedRecords::iter).filter(is_signed);
            known.for_each(|record| records.put(record.clone()));
            found.extend(read);
        }
        found.sort_by_key(|record| !self.signed.is_authority(&record.record.id));
        found
    }

    /// Whether the record counts.
    fn judge_loaded(
        &mut self,
        record: &Record,
        (verified, is_first): (&VerifiedSignatures, bool),
        (end, at): (Revision, Millis),
    ) -> bool {
        let id = &record.id;
        // A row that says that it is of a later commit is nobody's.
        let revision = record.revision.min(end);
        let is_as_verified = self.signed.signers == verified.signers;
        // Of what was verified by others it is found out by another load.
        let is_signed = Some(is_as_verified && verified.signed.contains(id));
        let found = FoundRecord { value: &record.value, is_signed, is_first };
        match self.signed.judge(id, found) {
            Ok(parts) => {
                self.take_signed(record, Some(parts), revision);
                true
            }
            Err(why) => {
                if self.signed.is_of_before(id) {
                    // This daemon was away while others signed.
                    self.forget_signed(id);
                }
                self.keep_signed(record, why, (revision, at));
                self.signed.is_stale |= !is_as_verified;
                false
            }
        }
    }

    /// What becomes of a record that a load has not found.
    fn miss_signed(&mut self, id: &RecordId, at: Millis) {
        match self.judge_deleted(id) {
            Err(why) if !self.signed.is_of_before(id) => {
                self.set_stored(id, Version(0), Revision(0));
                self.signed.refuse(id, why, ("", Version(0), at));
            }
            Ok(_) | Err(_) => self.forget_signed(id),
        }
    }
}

impl View {
    /// Verifies the signatures of what was loaded, off the event loop.
    pub(crate) async fn verify_loaded(
        &self,
        loaded: &BTreeMap<RecordKind, Vec<Vec<Arc<ViewRecord>>>>,
    ) -> VerifiedSignatures {
        let Some((signers, to_verify)) = self.to_verify(loaded) else { return VerifiedSignatures::default() };
        let by = signers.clone();
        let verify = move || -> HashSet<RecordId> {
            let is_signed = |record: &&Record| by.have_signed(name(&record.id), &split(&record.value));
            let records = to_verify.iter().map(|record| &record.record);
            records.filter(is_signed).map(|record| record.id.clone()).collect()
        };
        // What panics there verifies nothing, and is told by the runtime.
        let signed = tokio::task::spawn_blocking(verify).await.unwrap_or_default();
        VerifiedSignatures { signers: Some(signers), signed }
    }

    /// By whom, and which records of a load; `None`: there is nothing to verify.
    fn to_verify(
        &self,
        loaded: &BTreeMap<RecordKind, Vec<Vec<Arc<ViewRecord>>>>,
    ) -> Option<(Arc<RecordSigners>, Vec<Arc<ViewRecord>>)> {
        let state = read(&self.state);
        let signed = &state.signed;
        let by = signed.by.as_ref()?;
        let all = || signed.kinds.iter().filter_map(|kind| loaded.get(kind)).flatten().flatten();
        let authority = all().find(|record| record.record.id == by.authority);
        let signers =
            authority.and_then(|record| signed.signers_after(&record.record.id, &record.record.value));
        let signers = signers.or_else(|| signed.signers.clone())?;
        let is_other = |record: &&Arc<ViewRecord>| {
            let id = &record.record.id;
            let is_known = signed.held.get(id).is_some_and(|held| held.value == record.record.value);
            signed.is_signed(id) && *id != by.authority && !is_known
        };
        Some((signers, all().filter(is_other).cloned().collect()))
    }
}
