//! Signed records in the view: of some kinds the view holds what counts, whatever stands in the store.
//!
//! What is found of such a record, by a load or in the log, is judged before anybody can read it. What does not count is
//! noted, and the record stays as it was known: with the version that a commit has to expect in the store.

mod kept_records;
mod loading;
mod queries;
mod unaudited;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::text::printable;
use omnirelay_core::time::Millis;
use omnirelay_decisions::signed_record::{
    FoundRecord, KnownRecord, RecordName, RecordSigners, SignedParts, SignedRecordRefusal, judge, split,
};
use omnirelay_pki::issuer_key::IssuerKey;
use omnirelay_store::{Epoch, LogEntry, Record, RecordChange, RecordId, RecordKind, Revision, Version};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RecordSignature;

pub use loading::VerifiedSignatures;
pub(super) use unaudited::UnauditedWrite;

use super::records::OrderedRecords;
use super::{RegistryHead, State, View, ViewChange, ViewRecord, read, write};

/// How many records that do not count are noted; those beyond are found by a load once these are put right.
const REFUSED_MAX: usize = 1000;
/// How large the authority's record may be: two roots, eight issuers and as many keys of tokens are less than 20 KiB.
const AUTHORITY_BYTES_MAX: usize = 64 * 1024;
/// How much is told of who has written a record.
const WRITER_CHARS_MAX: usize = 64;

/// The issuers of records: who signs them, as the record of the authority says.
pub trait RecordIssuers: Send + Sync {
    /// What becomes of signatures once `next` is the value of the authority's record after `before`.
    ///
    /// # Errors
    /// Why it cannot follow: it is no authority, or of a root that nobody who was trusted has certified.
    fn follow(&self, before: Option<&Bytes>, next: &Bytes) -> Result<AuthoritySuccession, String>;

    /// Whether this node can sign by the issuer of an authority.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where it cannot.
    fn check_may_sign(&self, authority: &Bytes) -> Result<(), Fault>;

    /// Whether a record of this value counts for nothing any more, whatever becomes of it: anybody may delete it.
    fn has_ended(&self, name: RecordName<'_>, payload: &Bytes) -> bool;

    /// Signs a record by the issuer of an authority, and names the key of the issuer in the signature.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where this node is none.
    fn sign(
        &self,
        authority: &Bytes,
        name: RecordName<'_>,
        payload: &[u8],
        signature: RecordSignature,
    ) -> Result<RecordSignature, Fault>;
}

/// An authority that may follow the one before.
#[derive(Clone, Debug, Default)]
pub struct AuthoritySuccession {
    /// Whose signatures count from then on; `None`: records are not signed.
    pub signers: Option<Arc<RecordSigners>>,
    /// Whether the newest of them is an issuer that the authority before did not know, and has not been one before the newest that
    /// it knew.
    pub is_by_new_issuer: bool,
}

/// Signing of records: the authority and the issuers by which signed records are judged.
#[derive(Clone)]
pub struct RecordSigning {
    /// The record of the authority.
    pub authority: RecordId,
    /// A record of these kinds that needs no signature, because nothing follows from it.
    pub exempt: RecordId,
    pub issuers: Arc<dyn RecordIssuers>,
}

/// A record that does not count, as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    pub why: String,
    /// Who wrote it, as it says itself; empty where it is gone.
    pub writer: Arc<str>,
    /// 0: it is gone.
    pub version: Version,
    /// When it was found, by the store's clock.
    pub at: Millis,
    /// Whether a new epoch has lost it: what stands there is older, or nothing.
    pub is_lost: bool,
}

/// Reason why what is found of a record does not count.
#[derive(Debug)]
enum RefusalReason {
    Record(SignedRecordRefusal),
    /// Of the authority's record.
    Authority(String),
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(why) => why.fmt(f),
            Self::Authority(why) => f.write_str(why),
        }
    }
}

/// A record as it counts.
struct ValidRecord {
    /// The number of its signature, and the key of the issuer; `None`: nobody has signed it.
    signature: Option<(u64, Vec<u8>)>,
    /// With its signature.
    value: Bytes,
    /// What a commit has to expect in the store.
    stored: Version,
    /// The commit of the store that was judged last.
    revision: Revision,
    is_deleted: bool,
}

/// The signed kinds, and what is known of their records.
#[derive(Default)]
pub(super) struct SignedRecords {
    kinds: Vec<RecordKind>,
    by: Option<RecordSigning>,
    signers: Option<Arc<RecordSigners>>,
    /// The value of the authority's record that counts, without its signature.
    authority: Option<Bytes>,
    held: HashMap<RecordId, ValidRecord>,
    refused: BTreeMap<RecordId, RefusedRecord>,
    /// Whether more were refused than are noted.
    has_more_refused: bool,
    /// What was written without an audit record.
    unaudited: BTreeMap<RecordId, UnauditedWrite>,
    /// Whether what was refused is to be judged anew, by a load: others may sign by now, or there was more of it.
    is_stale: bool,
    /// How often other records have counted than were kept in the file of this host.
    changes: u64,
    /// The epoch of the load that was judged last; 0: none was, and nothing was kept.
    epoch: Epoch,
    /// Whether that load is of a new epoch.
    is_new_epoch: bool,
    /// How often a record did not count, since the start.
    refusals: u64,
}

/// Signing of a record to be written: by which signers, and on which version of the authority's record it depends.
pub(crate) struct ToSign {
    pub by: RecordSigning,
    /// Whose signatures count; `None`: nothing is signed.
    pub signers: Option<Arc<RecordSigners>>,
    /// The value of the authority's record that counts; `None`: there is none.
    pub authority: Option<Bytes>,
    /// The version of that record.
    pub authority_version: Version,
}

impl SignedRecords {
    fn is_signed(&self, id: &RecordId) -> bool {
        self.by.as_ref().is_some_and(|by| by.exempt != *id) && self.kinds.contains(&id.kind)
    }

    /// Whether records of this kind may be signed.
    pub(super) fn has_kind(&self, kind: &RecordKind) -> bool {
        self.kinds.contains(kind)
    }

    fn is_authority(&self, id: &RecordId) -> bool {
        self.by.as_ref().is_some_and(|by| by.authority == *id)
    }

    fn known(&self, id: &RecordId) -> Option<KnownRecord<'_>> {
        let held = self.held.get(id)?;
        let number = held.signature.as_ref().filter(|(_, key)| self.has(key)).map(|(number, _)| *number);
        Some(KnownRecord { value: &held.value, number, is_signed: held.signature.is_some() })
    }

    /// Whether a record stands there as it is known.
    fn is_as_known(&self, found: &Record) -> bool {
        self.held.get(&found.id).is_some_and(|held| held.value == found.value)
    }

    /// Whether signatures of the issuer with this key count.
    fn has(&self, key: &[u8]) -> bool {
        self.signers.as_ref().is_none_or(|signers| signers.has(key))
    }

    /// Judges what is found of a record; the authority's record says by whom all others are to be signed.
    fn judge(&mut self, id: &RecordId, found: FoundRecord<'_>) -> Result<SignedParts, RefusalReason> {
        if self.is_authority(id) {
            return self.judge_authority(id, found.value);
        }
        if self.signers.is_none() && self.has_foreign_authority() {
            // Nobody knows whether the mesh of this host demands signatures.
            return Err(RefusalReason::Record(SignedRecordRefusal::Unsigned));
        }
        judge(self.signers.as_deref(), self.known(id), name(id), found).map_err(RefusalReason::Record)
    }

    /// As [`Self::judge`], of what is not written yet, and takes nothing.
    fn would_count(&self, id: &RecordId, value: &Bytes) -> Result<(), RefusalReason> {
        if self.is_authority(id) {
            return self.follow_authority(id, value).map(drop);
        }
        let found = FoundRecord { value, is_signed: None, is_first: false };
        judge(self.signers.as_deref(), self.known(id), name(id), found)
            .map(drop)
            .map_err(RefusalReason::Record)
    }

    /// Takes another authority, if it may follow the one that is known.
    fn judge_authority(&mut self, id: &RecordId, value: &Bytes) -> Result<SignedParts, RefusalReason> {
        if self.known(id).is_some_and(|known| known.value == value) {
            return Ok(split(value));
        }
        let (parts, signers) = self.follow_authority(id, value)?;
        self.is_stale |= signers != self.signers && !self.refused.is_empty();
        self.signers = signers;
        self.authority = Some(parts.payload.clone());
        Ok(parts)
    }

    /// Whose signatures count after this authority, if it may follow: it is signed by an issuer that counted so far, or by one that
    /// is new and leads to a root that was trusted. What costs most is looked at last.
    fn follow_authority(
        &self,
        id: &RecordId,
        value: &Bytes,
    ) -> Result<(SignedParts, Option<Arc<RecordSigners>>), RefusalReason> {
        let parts = split(value);
        let Some(by) = &self.by else { return Ok((parts, None)) };
        let known = self.known(id).and_then(|known| known.number);
        let number = parts.signature.as_ref().map(|signature| signature.number);
        if known.is_some_and(|known| number.is_some_and(|number| number <= known)) {
            return Err(RefusalReason::Record(SignedRecordRefusal::PlayedBack));
        }
        if value.len() > AUTHORITY_BYTES_MAX {
            return Err(RefusalReason::Authority(format!("it is larger than {AUTHORITY_BYTES_MAX} bytes")));
        }
        let AuthoritySuccession { signers, is_by_new_issuer } =
            by.issuers.follow(self.authority.as_ref(), &parts.payload).map_err(RefusalReason::Authority)?;
        match (&self.signers, &signers) {
            (None, None) => {}
            (Some(_), None) => {
                return Err(RefusalReason::Authority(
                    "it says that records are not signed any more".to_owned(),
                ));
            }
            (Some(before), Some(next)) if next.unsigned_counts && !before.unsigned_counts => {
                return Err(RefusalReason::Authority(
                    "it says that records need no signature any more".to_owned(),
                ));
            }
            (before, Some(next)) => {
                let newest = RecordSigners {
                    cluster: next.cluster.clone(),
                    keys: next.keys.iter().take(1).cloned().collect(),
                    unsigned_counts: false,
                };
                let by_before = before.as_ref().is_some_and(|before| before.have_signed(name(id), &parts));
                let may_be_new = before.is_none() || is_by_new_issuer;
                let counts = by_before || may_be_new && newest.have_signed(name(id), &parts);
                if !counts {
                    let why = if number.is_some() {
                        SignedRecordRefusal::Forged
                    } else {
                        SignedRecordRefusal::Unsigned
                    };
                    return Err(RefusalReason::Record(why));
                }
            }
        }
        Ok((parts, signers))
    }

    /// Whose signatures count once this is the authority.
    fn signers_after(&self, id: &RecordId, value: &Bytes) -> Option<Arc<RecordSigners>> {
        self.follow_authority(id, value).ok()?.1
    }

    /// Whether a record may be deleted by anybody: what it says has ended.
    fn may_go(&self, id: &RecordId, held: &ValidRecord) -> bool {
        let payload = split(&held.value).payload;
        !held.is_deleted && self.by.as_ref().is_some_and(|by| by.issuers.has_ended(name(id), &payload))
    }

    /// Whether none of those who count now has signed what is known of a record.
    fn is_of_before(&self, id: &RecordId) -> bool {
        self.held.get(id).is_some_and(|held| match &held.signature {
            Some((_, key)) => !self.has(key),
            None => self.demands_signatures(),
        })
    }

    /// Whether nothing counts that nobody has signed.
    fn demands_signatures(&self) -> bool {
        self.signers.as_ref().is_some_and(|signers| !signers.unsigned_counts)
    }

    /// Whether the newest issuer has signed what is known of a record.
    fn is_by_newest(&self, held: &ValidRecord) -> bool {
        let newest =
            self.signers.as_ref().and_then(|signers| signers.keys.first()).map(IssuerKey::fingerprint);
        let key = held.signature.as_ref().map(|(_, key)| key.as_slice());
        newest.is_some_and(|newest| key == Some(newest.as_bytes()))
    }

    /// Whether the newest issuer has yet to sign a record. What was not seen as it is now may be older than what others have followed
    /// it by.
    fn is_to_sign(&self, id: &RecordId, held: &ValidRecord) -> bool {
        let may_be_older = self.refused.contains_key(id) && self.is_of_before(id);
        !self.is_by_newest(held) && !may_be_older
    }

    /// Whether there is an authority, and none that this host believes.
    fn has_foreign_authority(&self) -> bool {
        let is_refused = |by: &RecordSigning| self.refused.contains_key(&by.authority);
        self.authority.is_none() && self.by.as_ref().is_some_and(is_refused)
    }

    fn refuse(&mut self, id: &RecordId, why: RefusalReason, (writer, version, at): (&str, Version, Millis)) {
        self.refusals += 1;
        if self.refused.len() >= REFUSED_MAX && !self.refused.contains_key(id) {
            self.has_more_refused = true;
            return;
        }
        let is_older = matches!(
            why,
            RefusalReason::Record(SignedRecordRefusal::Deleted | SignedRecordRefusal::PlayedBack)
        );
        let (writer, is_lost) = (printable_start(writer), self.is_new_epoch && is_older);
        let refused = RefusedRecord { why: why.to_string(), writer, version, at, is_lost };
        self.refused.insert(id.clone(), refused);
    }

    /// Notes that a record counts as it is in the store.
    fn accept(&mut self, id: &RecordId) {
        self.refused.remove(id);
        self.is_stale |= self.has_more_refused && self.refused.is_empty();
    }
}

/// What is told of a name that somebody has written.
fn printable_start(writer: &str) -> Arc<str> {
    let start: String = writer.chars().take(WRITER_CHARS_MAX).collect();
    printable(&start).to_string().into()
}

fn name(id: &RecordId) -> RecordName<'_> {
    RecordName { kind: &id.kind.0, key: &id.key }
}

impl State {
    /// Whether a record stays as it was known, whatever the store has lost or somebody has written there.
    pub(super) fn stays(&self, id: &RecordId) -> bool {
        self.is_authority(id) || self.signed.demands_signatures() && self.is_signed(id)
    }

    /// Whether a change is of a record that is judged.
    pub(super) fn is_signed(&self, id: &RecordId) -> bool {
        self.signed.is_signed(id)
    }

    /// Whether changes of this record are to be taken in before others of the same commit.
    pub(super) fn is_authority(&self, id: &RecordId) -> bool {
        self.signed.is_authority(id)
    }

    /// Takes in what a commit has written of the authority, by which all else in it is judged.
    pub(super) fn take_authority(&mut self, entry: &LogEntry) -> Option<ViewChange> {
        let change = entry.changes.iter().find(|change| self.is_authority(&change.after.id))?;
        let demanded = self.signed.signers.is_some();
        let taken = self.change_signed(change, entry);
        if !demanded && self.signed.demands_signatures() {
            self.drop_unsigned(entry);
        }
        taken
    }

    /// Believes nothing any more that nobody has signed: whoever has begun to demand signatures at once, as this daemon sees it, has
    /// signed what is to count.
    fn drop_unsigned(&mut self, entry: &LogEntry) {
        let is_unsigned = |(_, held): &(&RecordId, &ValidRecord)| held.signature.is_none();
        let unsigned: Vec<RecordId> =
            self.signed.held.iter().filter(is_unsigned).map(|(id, _)| id.clone()).collect();
        for id in unsigned {
            self.forget_signed(&id);
            self.signed.refuse(
                &id,
                RefusalReason::Record(SignedRecordRefusal::Unsigned),
                ("", Version(0), entry.at),
            );
        }
        self.signed.is_stale = true;
    }

    /// Applies one change of a signed record; `None`: it does not count.
    pub(super) fn change_signed(&mut self, change: &RecordChange, entry: &LogEntry) -> Option<ViewChange> {
        let (id, found) = (&change.after.id, &change.after);
        if self.signed.held.get(id).is_some_and(|held| held.revision >= entry.revision) {
            // A load was ahead of the log.
            return self.signed_of_log(change);
        }
        let (epoch, known) = (self.head.epoch, self.copy_of(id).cloned());
        self.awaited.forget(id);
        let is_as_known = self.signed.is_as_known(found);
        let judged = match found.deleted {
            true => self.judge_deleted(id),
            false => {
                let found = FoundRecord { value: &found.value, is_signed: None, is_first: false };
                self.signed.judge(id, found).map(Some)
            }
        };
        match judged {
            Ok(parts) => {
                self.signed.accept(id);
                // What stood there already anybody can write once more.
                if !is_as_known && !found.deleted && !unaudited::is_named(change, entry) {
                    self.note_unaudited(found, entry.at);
                }
                let after = self.take_signed(found, parts, entry.revision);
                let gone = || Arc::new(ViewRecord::new(epoch, tombstone(found)));
                Some(ViewChange { before: known, after: after.unwrap_or_else(gone) })
            }
            Err(why) => {
                self.keep_signed(found, why, (entry.revision, entry.at));
                None
            }
        }
    }

    /// Whether a record may be gone of which there is no signed note. The authority never is.
    fn judge_deleted(&self, id: &RecordId) -> Result<Option<SignedParts>, RefusalReason> {
        let Some(held) = self.signed.held.get(id) else { return Ok(None) };
        let stays = match &self.signed.signers {
            Some(signers) => !signers.unsigned_counts || held.signature.is_some(),
            None => false,
        };
        let stays = (stays || self.is_authority(id)) && !self.signed.may_go(id, held);
        if stays { Err(RefusalReason::Record(SignedRecordRefusal::Deleted)) } else { Ok(None) }
    }

    /// Knows nothing of a record any more.
    fn forget_signed(&mut self, id: &RecordId) {
        if let Some(records) = self.kinds.get_mut(&id.kind) {
            records.remove(&id.key);
        }
        self.signed.held.remove(id);
        self.signed.changes += 1;
    }

    /// Holds what counts of a record, without its signature: of its own, and of no group.
    fn take_signed(
        &mut self,
        found: &Record,
        parts: Option<SignedParts>,
        revision: Revision,
    ) -> Option<Arc<ViewRecord>> {
        let id = &found.id;
        let Some(SignedParts { payload, signature }) = parts else {
            self.forget_signed(id);
            return None;
        };
        let is_as_known = self.signed.is_as_known(found);
        let was_in_store = self.copy_of(id).is_none_or(|known| known.record.version > Version(0));
        if is_as_known && was_in_store && found.version > Version(0) {
            // What else stands in the row nobody has signed.
            self.set_stored(id, found.version, revision);
            return self.copy_of(id).cloned();
        }
        // Before it is known who signs, nobody has.
        let signature = signature.filter(|_| self.signed.signers.is_some());
        let is_deleted = signature.as_ref().is_some_and(|signature| signature.deleted);
        let held = ValidRecord {
            signature: signature.map(|signature| (signature.number, signature.key)),
            value: found.value.clone(),
            stored: found.version,
            revision,
            is_deleted,
        };
        self.signed.held.insert(id.clone(), held);
        self.signed.changes += u64::from(!is_as_known);
        let records = self.kinds.entry(id.kind.clone()).or_insert_with(|| OrderedRecords::unindexed([]));
        if is_deleted {
            records.remove(&id.key);
            return None;
        }
        let record = Record { value: payload, group: None, revision, ..found.clone() };
        let record = Arc::new(ViewRecord::new(self.head.epoch, record));
        records.put(record.clone());
        Some(record)
    }

    /// Has a record stay as it was known, though something else stands in the store that does not count.
    fn keep_signed(&mut self, found: &Record, why: RefusalReason, (revision, at): (Revision, Millis)) {
        let stored = if found.deleted { Version(0) } else { found.version };
        self.signed.refuse(&found.id, why, (&found.writer, stored, at));
        self.set_stored(&found.id, stored, revision);
    }

    /// Notes what a commit has to expect of a record that stays as it was known.
    fn set_stored(&mut self, id: &RecordId, stored: Version, revision: Revision) {
        let epoch = self.head.epoch;
        if let Some(held) = self.signed.held.get_mut(id) {
            (held.stored, held.revision) = (stored, revision);
        }
        let Some(known) = self.copy_of(id) else { return };
        let record = Record { version: stored, revision, ..known.record.clone() };
        if let Some(records) = self.kinds.get_mut(&id.kind) {
            records.put(Arc::new(ViewRecord::new(epoch, record)));
        }
    }

    /// A change as the log has it, for those who are behind the view; `None`: it never counted.
    fn signed_of_log(&self, change: &RecordChange) -> Option<ViewChange> {
        let epoch = self.head.epoch;
        let counted = |record: &Record| {
            let parts = split(&record.value);
            let counts = match (&self.signed.signers, &parts.signature) {
                (None, _) => true,
                (Some(signers), None) => {
                    signers.unsigned_counts || record.deleted && self.copy_of(&record.id).is_none()
                }
                (Some(signers), Some(_)) => {
                    let is_held =
                        self.signed.held.get(&record.id).is_some_and(|held| held.value == record.value);
                    is_held || signers.have_signed(name(&record.id), &parts)
                }
            };
            let is_deleted = record.deleted || parts.signature.is_some_and(|signature| signature.deleted);
            let record = Record { value: parts.payload, deleted: is_deleted, ..record.clone() };
            counts.then(|| Arc::new(ViewRecord::new(epoch, record)))
        };
        let before = change.before.as_ref().and_then(counted).filter(|before| !before.record.deleted);
        Some(ViewChange { before, after: counted(&change.after)? })
    }
}

/// A signed note of a deletion, as those who watch know one.
fn tombstone(found: &Record) -> Record {
    Record { value: Bytes::new(), deleted: true, ..found.clone() }
}
