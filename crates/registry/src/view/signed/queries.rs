//! Queries of signed records: what counts, what does not, and what is to be signed.

use std::collections::BTreeMap;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::{Record, RecordChange, RecordId, RecordKind, Version};

use super::super::{ExpectedRecord, View, ViewChange, ViewRecord, read, write};
use super::{RecordSigning, RefusedRecord, SignedRecords, ToSign, ValidRecord};

impl SignedRecords {
    /// Value that counts of a record, with its signature.
    pub(in super::super) fn as_signed(&self, id: &RecordId) -> Option<&Bytes> {
        self.held.get(id).map(|held| &held.value)
    }
}

impl SignedRecords {
    /// Whether all that does not count is known by name.
    pub(in super::super) fn is_all_judged(&self) -> bool {
        !self.is_stale && !self.has_more_refused
    }

    /// Records of a kind as they are expected in the store: what counts, notes of deletions among it, and what does not count.
    pub(in super::super) fn expected(
        &self,
        kind: &RecordKind,
        is_wanted: impl Fn(&RecordId) -> bool,
    ) -> Vec<(RecordId, ExpectedRecord)> {
        let mut expected = Vec::new();
        if !self.has_kind(kind) {
            return expected;
        }
        let wanted = |id: &&RecordId| id.kind == *kind && is_wanted(id);
        for (id, held) in self.held.iter().filter(|(id, _)| wanted(id) && !self.refused.contains_key(*id)) {
            let record = Record {
                id: id.clone(),
                value: held.value.clone(),
                version: held.stored,
                revision: held.revision,
                group: None,
                created_at: Millis(0),
                updated_at: Millis(0),
                writer: "".into(),
                deleted: false,
            };
            expected.push((id.clone(), ExpectedRecord::Signed(record)));
        }
        let refused = self.refused.keys().filter(wanted);
        expected.extend(refused.map(|id| (id.clone(), ExpectedRecord::Refused)));
        expected
    }
}

impl View {
    /// Takes only what is signed for records of these kinds, once [`View::sign_by`] has said by whom.
    #[must_use]
    pub fn signing(self, kinds: &[RecordKind]) -> Self {
        write(&self.state).signed.kinds = kinds.to_vec();
        self
    }

    /// Has signed records judged by this from now on: before anything is loaded.
    pub fn sign_by(&self, signing: RecordSigning) {
        write(&self.state).signed.by = Some(signing);
    }

    /// Whether records have to be signed: no other one counts.
    pub fn demands_signatures(&self) -> bool {
        read(&self.state).signed.demands_signatures()
    }

    /// The records that do not count, as they stand in the store; none while they are to be judged anew.
    pub fn refused_records(&self) -> BTreeMap<RecordId, RefusedRecord> {
        let state = read(&self.state);
        if state.signed.is_stale { BTreeMap::new() } else { state.signed.refused.clone() }
    }

    /// Whether this record does not count, as [`View::refused_records`] has it.
    pub(crate) fn is_refused(&self, id: &RecordId) -> bool {
        let state = read(&self.state);
        !state.signed.is_stale && state.signed.refused.contains_key(id)
    }

    /// Whether this record is one of [`View::records_to_sign`].
    pub(crate) fn is_to_sign(&self, id: &RecordId) -> bool {
        let state = read(&self.state);
        state.signed.held.get(id).is_some_and(|held| state.signed.is_to_sign(id, held))
    }

    /// The kinds of which records are signed.
    pub fn signed_kinds(&self) -> Vec<RecordKind> {
        read(&self.state).signed.kinds.clone()
    }

    /// Whether this record is of a signed kind, and not exempt.
    pub fn is_signed(&self, id: &RecordId) -> bool {
        read(&self.state).is_signed(id)
    }

    /// Number of times that a record did not count, since this daemon started.
    pub fn refusals_of_records(&self) -> u64 {
        read(&self.state).signed.refusals
    }

    /// The records that count without a signature, or with that of another issuer than the newest, and that the store has so.
    pub fn records_to_sign(&self) -> Vec<RecordId> {
        let state = read(&self.state);
        let is_old = |(id, held): &(&RecordId, &ValidRecord)| state.signed.is_to_sign(id, held);
        let mut old: Vec<RecordId> =
            state.signed.held.iter().filter(is_old).map(|(id, _)| id.clone()).collect();
        old.sort();
        old
    }

    /// Whether all that counts is signed by the newest issuer, and nothing is to be judged anew.
    pub fn is_all_signed(&self) -> bool {
        let state = read(&self.state);
        let signed = &state.signed;
        !signed.is_stale
            && !signed.has_more_refused
            && signed.held.values().all(|held| signed.is_by_newest(held))
    }

    /// Whether anybody may delete this record, and no note of that is needed: nobody knows it, or it says nothing any more.
    pub(crate) fn may_go(&self, id: &RecordId) -> bool {
        let state = read(&self.state);
        state.signed.held.get(id).is_none_or(|held| state.signed.may_go(id, held))
    }

    /// Whether this daemon knows what is to be put in the place of a record that does not count: nothing, or what those have signed
    /// who sign now. What only others have signed may be older than what they have followed it by.
    pub(crate) fn may_restore(&self, id: &RecordId) -> bool {
        !read(&self.state).signed.is_of_before(id)
    }

    /// Whether what does not count is to be judged anew, by a load.
    pub(crate) fn must_judge_anew(&self) -> bool {
        read(&self.state).signed.is_stale
    }

    /// A record as it counts, with its signature, be it the note of its deletion; `None`: nothing is known of it.
    pub(crate) fn as_it_counts(&self, id: &RecordId) -> Option<Bytes> {
        read(&self.state).signed.held.get(id).map(|held| held.value.clone())
    }

    /// The version that a commit has to expect of a record as it was read: of one that is not there, that of the note that it was
    /// deleted, or of what does not count in its place.
    pub(crate) fn version_of(&self, read_as: Option<&ViewRecord>, id: &RecordId) -> Version {
        if let Some(record) = read_as {
            return record.record.version;
        }
        let state = read(&self.state);
        match state.signed.held.get(id) {
            Some(held) if held.is_deleted => held.stored,
            Some(_) => Version(0),
            None => state.signed.refused.get(id).map_or(Version(0), |refused| refused.version),
        }
    }

    /// The number that the next signature of a record has at least.
    pub(crate) fn next_number(&self, id: &RecordId) -> u64 {
        let state = read(&self.state);
        state.signed.known(id).and_then(|known| known.number).map_or(1, |number| number.saturating_add(1))
    }

    /// Whether this record is signed where records are, and by what.
    pub(crate) fn to_sign(&self, id: &RecordId) -> Option<ToSign> {
        let state = read(&self.state);
        if !state.signed.is_signed(id) {
            return None;
        }
        let by = state.signed.by.clone()?;
        let version = state.signed.held.get(&by.authority).map_or(Version(0), |held| held.stored);
        Some(ToSign {
            by,
            signers: state.signed.signers.clone(),
            authority: state.signed.authority.clone(),
            authority_version: version,
        })
    }

    /// Whether this value of a signed record would count if it were written now, with the signature that it has.
    ///
    /// # Errors
    /// Why it would not.
    pub fn would_count(&self, id: &RecordId, value: &Bytes) -> Result<(), String> {
        let state = read(&self.state);
        match state.signed.is_signed(id) {
            true => state.signed.would_count(id, value).map_err(|why| why.to_string()),
            false => Ok(()),
        }
    }

    /// A change as a page of the log has it; `None`: it does not count.
    pub fn change_of_log(&self, change: &RecordChange) -> Option<ViewChange> {
        let state = read(&self.state);
        match state.signed.is_signed(&change.after.id) {
            true => state.signed_of_log(change),
            false => Some(ViewChange::of(state.head.epoch, change)),
        }
    }
}
