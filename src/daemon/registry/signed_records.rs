//! Puts signed records right: what does not count is replaced by what does, and what has an older signature is signed anew.

use std::collections::BTreeMap;

use omnirelay_store::{CommitError, RecordId, Write};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use xxhash_rust::xxh64::xxh64;

use super::Registry;
use super::act::{Act, Authority, Plan, Reader};
use super::audit_record::own_body;
use super::view::Refused;

/// What puts back what somebody has written or deleted who may not.
pub const RESTORE: &str = "signed-records.restore";
/// What tells of records that do not count and that nobody has put right.
pub const REFUSE: &str = "signed-records.refuse";
/// What signs records for the first time, or by the newest issuer.
pub const SIGN: &str = "signed-records.sign";
/// How many records are put right in one commit.
const AT_ONCE: usize = 64;
/// How often a commit is decided.
const TRIES: usize = 5;
/// How many records an audit record names.
const NAMED_MAX: usize = 100;

impl Registry {
    /// Writes what counts over what does not, as it was signed: another issuer may know a newer one, which this one is not to go
    /// over.
    ///
    /// # Errors
    /// Those of the store, the last one; what could be put right was. `Denied` where this node is no issuer.
    pub async fn restore_signed(
        &self,
        refused: &BTreeMap<RecordId, Refused>,
        unknown: Unknown,
    ) -> Result<(), CommitError> {
        let is_to_go = |id: &RecordId| unknown == Unknown::Deleted || self.view().as_it_counts(id).is_some();
        let due = refused.iter().filter(|(id, _)| self.view().may_restore(id) && is_to_go(id));
        let due: Vec<_> = due.collect();
        let mut outcome = Ok(());
        for some in due.chunks(AT_ONCE) {
            if self.restore_some(some).await.is_ok() {
                continue;
            }
            // One of them may be too large for a commit with others.
            for one in some.chunks(1) {
                outcome = self.restore_some(one).await.and(outcome);
            }
        }
        outcome
    }

    async fn restore_some(&self, some: &[(&RecordId, &Refused)]) -> Result<(), CommitError> {
        let lines = some.iter().map(|(id, refused)| told(id, refused)).collect();
        let ids: Vec<RecordId> = some.iter().map(|(id, _)| (*id).clone()).collect();
        // Another issuer may have put some of them right meanwhile.
        let is_wrong = |id: &RecordId| self.view().refused_records().contains_key(id);
        let as_it_counts = |reader: &Reader<'_>, id: &RecordId| {
            // The commit expects what was read before.
            reader.get(id);
            match self.view().as_it_counts(id) {
                Some(value) => Write::Put { id: id.clone(), value, group: None },
                None => Write::Delete { id: id.clone() },
            }
        };
        self.write_signed(RESTORE, &ids, as_it_counts, is_wrong, lines).await
    }

    /// Signs records anew as they are.
    ///
    /// # Errors
    /// As of [`Self::restore_signed`].
    pub async fn sign_anew(&self, ids: &[RecordId]) -> Result<(), CommitError> {
        let mut outcome = Ok(());
        for some in ids.chunks(AT_ONCE) {
            if self.sign_some(some).await.is_ok() {
                continue;
            }
            // As above.
            for one in some.chunks(1) {
                outcome = self.sign_some(one).await.and(outcome);
            }
        }
        outcome
    }

    async fn sign_some(&self, some: &[RecordId]) -> Result<(), CommitError> {
        let lines = some.iter().map(|id| format!("{id}: signed")).collect();
        let due = || self.view().records_to_sign();
        let anew = |reader: &Reader<'_>, id: &RecordId| match reader.get(id) {
            Some(record) => Write::Put { id: id.clone(), value: record.record.value.clone(), group: None },
            // There is the note of a deletion.
            None => Write::Delete { id: id.clone() },
        };
        // Another issuer may have signed some of them meanwhile.
        let still = due();
        self.write_signed(SIGN, some, anew, |id| still.binary_search(id).is_ok(), lines).await
    }

    async fn write_signed(
        &self,
        action: &'static str,
        ids: &[RecordId],
        write: impl Fn(&Reader<'_>, &RecordId) -> Write,
        is_due: impl Fn(&RecordId) -> bool,
        lines: Vec<String>,
    ) -> Result<(), CommitError> {
        let kinds = ids.iter().map(|id| id.kind.clone());
        let act = Act { tries: TRIES, ..Act::new(action, kinds, Authority::Unfenced) };
        let body = own_body(self.node_id(), action, object(ids), named(lines));
        let done = self.act::<_, CommitError, _>(&act, async |reader: Reader<'_>| {
            let due = ids.iter().filter(|id| is_due(id));
            let writes: Vec<Write> = due.map(|id| write(&reader, id)).collect();
            let plan = || reader.plan().write(writes.clone()).audit([body.clone()]);
            Ok((!writes.is_empty()).then(|| (plan(), ())))
        });
        done.await.map(drop)
    }

    /// Tells the trail of records that do not count; once, whichever daemon comes first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn tell_refused(&self, refused: &BTreeMap<RecordId, Refused>) -> Result<(), CommitError> {
        let lines: Vec<String> = refused.iter().map(|(id, refused)| told(id, refused)).collect();
        let ids: Vec<RecordId> = refused.keys().cloned().collect();
        let hash = xxh64(lines.join("\n").as_bytes(), 0);
        let body: AuditValue = own_body(self.node_id(), REFUSE, object(&ids), named(lines));
        let act = Act::new(REFUSE, [], Authority::Unfenced);
        let plan = Plan::default().audit([body]).once("", REFUSE, format!("{hash:016x}"), hash);
        self.attempt(&act, plan).await.map(drop)
    }
}

/// What becomes of a record that does not count, and in the place of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It stays as it is: others may know what counts, or sign it yet.
    Left,
    Deleted,
}

/// What is said of a record that does not count.
pub fn told(id: &RecordId, refused: &Refused) -> String {
    match &*refused.writer {
        "" => format!("{id}: {}", refused.why),
        writer => format!("{id}: {}; written by {writer}", refused.why),
    }
}

fn object(ids: &[RecordId]) -> String {
    ids.first().map(ToString::to_string).unwrap_or_default()
}

/// As many lines as an audit record takes.
fn named(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(NAMED_MAX);
    lines.truncate(NAMED_MAX);
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines
}
