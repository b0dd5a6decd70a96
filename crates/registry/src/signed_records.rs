//! Puts signed records right: what does not count is replaced by what does, and what has an older signature is signed anew.

use std::collections::BTreeMap;

use omnirelay_store::{CommitError, RecordId, Write};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use xxhash_rust::xxh64::xxh64;

use super::Registry;
use super::act::{CommitPlan, DaemonAct, DecisionReader, OwnChange, WriteAuthority};
use super::audit_record::{named, own_body};
use super::view::RefusedRecord;

/// What puts back what somebody has written or deleted who may not.
pub const RESTORE: &str = "signed-records.restore";
/// What tells of records that do not count and that nobody has put right.
pub const REFUSE: &str = "signed-records.refuse";
/// What signs records for the first time, or by the newest issuer.
pub const SIGN: &str = "signed-records.sign";
/// How many records are put right in one commit.
const AT_ONCE: usize = 64;

impl Registry {
    /// Writes what counts over what does not, as it was signed: another issuer may know a newer one, which this one is not to go
    /// over.
    ///
    /// # Errors
    /// Those of the store, the last one; what could be put right was. `Denied` where this node is no issuer.
    pub async fn restore_signed(
        &self,
        refused: &BTreeMap<RecordId, RefusedRecord>,
        unknown: UnknownRecords,
    ) -> Result<(), CommitError> {
        let is_to_go =
            |id: &RecordId| unknown == UnknownRecords::Deleted || self.view().as_it_counts(id).is_some();
        let due = refused.keys().filter(|id| self.view().may_restore(id) && is_to_go(id));
        let due: Vec<RecordId> = due.cloned().collect();
        let as_it_counts = |reader: &DecisionReader<'_>, id: &RecordId| {
            // The commit expects what was read before.
            reader.get(id);
            match self.view().as_it_counts(id) {
                Some(value) => Write::Put { id: id.clone(), value, group: None },
                None => Write::Delete { id: id.clone() },
            }
        };
        let line = |id: &RecordId| refused.get(id).map(|refused| told(id, refused)).unwrap_or_default();
        // Another issuer may have put some of them right meanwhile.
        let rewrite = RecordRewrite {
            action: RESTORE,
            write: as_it_counts,
            is_due: |id: &RecordId| self.view().is_refused(id),
            line,
        };
        self.write_signed(&due, rewrite).await
    }

    /// Signs records anew as they are.
    ///
    /// # Errors
    /// As of [`Self::restore_signed`].
    pub async fn sign_anew(&self, ids: &[RecordId]) -> Result<(), CommitError> {
        let anew = |reader: &DecisionReader<'_>, id: &RecordId| match reader.get(id) {
            Some(record) => Write::Put { id: id.clone(), value: record.record.value.clone(), group: None },
            // There is the note of a deletion.
            None => Write::Delete { id: id.clone() },
        };
        let line = |id: &RecordId| format!("{id}: signed");
        // Another issuer may have signed some of them meanwhile.
        let rewrite = RecordRewrite {
            action: SIGN,
            write: anew,
            is_due: |id: &RecordId| self.view().is_to_sign(id),
            line,
        };
        self.write_signed(ids, rewrite).await
    }

    /// Writes records, many at once, and one at a time where that fails: one of them may be too large for a commit with others.
    async fn write_signed<W, D, L>(
        &self,
        ids: &[RecordId],
        rewrite: RecordRewrite<W, D, L>,
    ) -> Result<(), CommitError>
    where
        W: Fn(&DecisionReader<'_>, &RecordId) -> Write,
        D: Fn(&RecordId) -> bool,
        L: Fn(&RecordId) -> String,
    {
        let mut outcome = Ok(());
        for some in ids.chunks(AT_ONCE) {
            if self.write_some(some, &rewrite).await.is_ok() {
                continue;
            }
            for one in some.chunks(1) {
                outcome = self.write_some(one, &rewrite).await.and(outcome);
            }
        }
        outcome
    }

    async fn write_some<W, D, L>(
        &self,
        ids: &[RecordId],
        RecordRewrite { action, write, is_due, line }: &RecordRewrite<W, D, L>,
    ) -> Result<(), CommitError>
    where
        W: Fn(&DecisionReader<'_>, &RecordId) -> Write,
        D: Fn(&RecordId) -> bool,
        L: Fn(&RecordId) -> String,
    {
        let kinds = ids.iter().map(|id| id.kind.clone());
        let done = self.change_own::<_, CommitError>(action, kinds, |reader| {
            let due = ids.iter().filter(|id| is_due(id));
            let writes: Vec<Write> = due.map(|id| write(reader, id)).collect();
            if writes.is_empty() {
                return Ok(None);
            }
            let changes = named(ids.iter().map(line).collect());
            Ok(Some(OwnChange { object: object(ids), writes, changes, answer: () }))
        });
        done.await.map(drop)
    }

    /// Tells the trail of records that do not count; once, whichever daemon comes first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn tell_refused(&self, refused: &BTreeMap<RecordId, RefusedRecord>) -> Result<(), CommitError> {
        let lines: Vec<String> = refused.iter().map(|(id, refused)| told(id, refused)).collect();
        let ids: Vec<RecordId> = refused.keys().cloned().collect();
        let hash = xxh64(lines.join("\n").as_bytes(), 0);
        let body: AuditValue = own_body(self.node_id(), REFUSE, object(&ids), named(lines));
        let act = DaemonAct::new(REFUSE, [], WriteAuthority::Unfenced);
        let plan = CommitPlan::default().audit([body]).once("", REFUSE, format!("{hash:016x}"), hash);
        self.attempt(&act, plan).await.map(drop)
    }
}

/// Rewrite of records: what is written of each, whether that is still due, and what the trail says of it.
struct RecordRewrite<W, D, L> {
    action: &'static str,
    write: W,
    is_due: D,
    line: L,
}

/// Treatment of a record that does not count, and in the place of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownRecords {
    /// It stays as it is: others may know what counts, or sign it yet.
    Left,
    Deleted,
}

/// Message about a record that does not count.
pub fn told(id: &RecordId, refused: &RefusedRecord) -> String {
    match &*refused.writer {
        "" => format!("{id}: {}", refused.why),
        writer => format!("{id}: {}; written by {writer}", refused.why),
    }
}

fn object(ids: &[RecordId]) -> String {
    ids.first().map(ToString::to_string).unwrap_or_default()
}
