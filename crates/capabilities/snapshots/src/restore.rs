//! Restoring: what the registry has nothing of comes back as it was; what is there stays, or is put together with what it was.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::{chain, count};
use omnirelay_decisions::audit_seal::open;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::merge::MergeOutcome;
use omnirelay_nouns::{SCHEMA_VERSION, check_reason, head_cursor};
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::epoch_loss::ToRestore;
use omnirelay_registry::record::AuditedAction;
use omnirelay_registry::view::ViewRecord;
use omnirelay_registry::write_gate::gate_fault;
use omnirelay_store::{
    CommitError, ExistingRecord, KEY_BYTES_MAX, ORIGIN_MAX, Record, RecordId, RecordKind, RecordOrigin,
    StoreError, VALUE_BYTES_MAX, Version, Write,
};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::snapshot_service::RESTORE;

use super::{Snapshots, pb, record_of};

/// The greatest revision of a snapshot: those of Redis are its time in microseconds, which comes there in 2041. The store goes on
/// above what it imports.
const REVISION_MAX: u64 = 1 << 51;
/// How far behind the moment of a snapshot its trail may go, which is read after it.
const TRAIL_BEHIND: u64 = 60_000_000;
/// How many records one request has at most.
const RECORDS_MAX: usize = 512;
/// How many are written in one commit, and how many bytes of values.
const AT_ONCE: usize = 240;
const BYTES_AT_ONCE: usize = 2 * 1024 * 1024;
/// How long a commit may take.
const COMMIT_WITHIN: Duration = Duration::from_secs(10);
/// How many of the records that are not put back are named.
const REFUSED_MAX: usize = 100;
/// As what the audit trail has it.
const OBJECT: &str = "store/snapshot";

/// Why what is there is not put together with what was saved.
const NOT_MERGED: &str =
    "this daemon cannot put it together with what is there; another one may, such as an issuer";

/// Verdict on a record of a snapshot: what becomes of it.
enum RestoreVerdict {
    PutBack(PutBack),
    /// What is there has the last word, or has all of it.
    Kept,
    Refused(String),
}

/// A record that is to be written.
struct PutBack {
    write: Write,
    /// What has to be there still: the record with the version that it is put together with, or no whole of it.
    expected: Option<(RecordId, Version)>,
    is_merged: bool,
}

/// Tally of a request to restore: what became of its records.
#[derive(Default)]
struct Tally {
    restored: u32,
    merged: u32,
    kept: u32,
    refused: Vec<pb::SnapshotRefusal>,
    refused_count: u32,
}

impl Tally {
    fn refuse(&mut self, kind: &str, key: &str, why: String) {
        self.refused_count += 1;
        if self.refused.len() < REFUSED_MAX {
            let start = |text: &str| text.chars().take(KEY_BYTES_MAX).collect();
            self.refused.push(pb::SnapshotRefusal { kind: start(kind), key: start(key), why });
        }
    }

    fn note(&mut self, put: &PutBack) {
        *(if put.is_merged { &mut self.merged } else { &mut self.restored }) += 1;
    }
}

impl Snapshots {
    /// Puts back some records of a snapshot.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is no snapshot's, `SNAPSHOT_OF_ANOTHER_CLUSTER`, `NOT_AN_ISSUER`; those of the store, what is
    /// put back until then stays.
    pub(super) async fn restore_some(
        &self,
        caller: &Caller,
        asked: pb::RestoreSnapshotRequest,
    ) -> Result<pb::RestoreSnapshotResponse, Fault> {
        check_reason(&asked.reason)?;
        let of = self.check(&asked)?;
        self.registry.ready_for("").await?;
        self.registry.recheck(caller).await?;
        let pb::RestoreSnapshotRequest { records, dry_run, reason, .. } = asked;
        let (mut tally, mut due, mut known) = (Tally::default(), Vec::new(), Vec::new());
        for saved in records {
            match self.known(of, &saved) {
                Ok(kind) => known.push(record_of(kind, saved)),
                Err(why) => tally.refuse(&saved.kind, &saved.key, why),
            }
        }
        let there = self.in_store(&known).await.map_err(|error| unreadable(&error))?;
        for record in known {
            let id = record.id.clone();
            match self.judge(of, record, &there).await.map_err(|error| unreadable(&error))? {
                RestoreVerdict::PutBack(put) => due.push(put),
                RestoreVerdict::Kept => tally.kept += 1,
                RestoreVerdict::Refused(why) => tally.refuse(&id.kind.0, &id.key, why),
            }
        }
        if dry_run {
            due.iter().for_each(|put| tally.note(put));
            self.registry.record(caller, deed(&due, &reason, true)).await.map_err(|error| fault(&error))?;
            return Ok(self.answer(tally, true));
        }
        while !due.is_empty() {
            let rest = due.split_off(portion(&due));
            self.put_back(caller, &reason, due, &mut tally).await?;
            due = rest;
        }
        Ok(self.answer(tally, false))
    }

    /// Whether it is of a snapshot of this cluster; of which registry.
    fn check(&self, asked: &pb::RestoreSnapshotRequest) -> Result<Cursor, Fault> {
        let of = asked.cursor.parse::<Cursor>();
        let of = of.map_err(|error| Fault::invalid(format!("field `cursor`: {error}")))?;
        if asked.cluster_id != self.cluster_id {
            let message = format!(
                "the snapshot is of the cluster `{}`, and this is the cluster `{}`",
                asked.cluster_id, self.cluster_id
            );
            return Err(Fault::new(reasons::SNAPSHOT_OF_ANOTHER_CLUSTER, message));
        }
        if of.revision.0 > REVISION_MAX {
            return Err(Fault::invalid(format!("field `cursor`: its revision is above {REVISION_MAX}")));
        }
        if asked.records.len() > RECORDS_MAX {
            let message =
                format!("field `records` has {} of them, more than {RECORDS_MAX}", asked.records.len());
            return Err(Fault::invalid(message));
        }
        Ok(of)
    }

    /// The kind of a record that can be put back.
    ///
    /// # Errors
    /// Why it cannot.
    fn known(&self, of: Cursor, saved: &pb::SnapshotRecord) -> Result<RecordKind, String> {
        let kind = self.kinds.named(&saved.kind).cloned();
        let is_number = |number: u64| (1..=ORIGIN_MAX).contains(&number);
        let last = of.revision.0.saturating_add(TRAIL_BEHIND);
        let why = match &kind {
            None => "this release has no such records in snapshots: a later one may".to_owned(),
            Some(_) if saved.key.is_empty() || saved.key.len() > KEY_BYTES_MAX => {
                format!("its key is empty, or longer than {KEY_BYTES_MAX} bytes")
            }
            Some(_) if saved.value.len() > VALUE_BYTES_MAX => {
                format!("its value is larger than {VALUE_BYTES_MAX} bytes")
            }
            Some(_) if !is_number(saved.version) => format!("its version is not between 1 and {ORIGIN_MAX}"),
            Some(_) if !(1..=last).contains(&saved.revision) => {
                "its revision is behind the moment of the snapshot".to_owned()
            }
            Some(_) if saved.created_at_ms.max(saved.updated_at_ms) > ORIGIN_MAX => {
                format!("its times are greater than {ORIGIN_MAX}")
            }
            Some(_) if saved.writer.len() > KEY_BYTES_MAX => {
                format!("its writer is longer than {KEY_BYTES_MAX} bytes")
            }
            Some(kind) => return Ok(kind.clone()),
        };
        Err(why)
    }

    /// Which of the records that no memory holds are in the store.
    async fn in_store(&self, records: &[Record]) -> Result<BTreeSet<RecordId>, StoreError> {
        let mut there = BTreeSet::new();
        for kind in self.kinds.stored() {
            let keys = || {
                records.iter().filter(|record| record.id.kind == *kind).map(|record| record.id.key.as_str())
            };
            let (Some(first), Some(last)) = (keys().min(), keys().max()) else { continue };
            there.extend(
                self.registry
                    .read_one(kind, first)
                    .await?
                    .filter(|found| !found.deleted)
                    .map(|found| found.id),
            );
            let each = |found: Record| {
                if found.id.key.as_str() > last {
                    return Break(());
                }
                if !found.deleted {
                    there.insert(found.id);
                }
                Continue(())
            };
            self.registry.each_behind(kind, "", first, each).await?;
        }
        Ok(there)
    }

    async fn judge(
        &self,
        of: Cursor,
        record: Record,
        there: &BTreeSet<RecordId>,
    ) -> Result<RestoreVerdict, StoreError> {
        let (registry, id) = (&self.registry, record.id.clone());
        let view = registry.view();
        let now = view.get(&id);
        // The same record, changed since by those who knew it so.
        let is_later = |now: &Record| now.created_at == record.created_at && now.version >= record.version;
        let has_all = |now: &Record| now.value == record.value || is_later(now);
        if there.contains(&id) || now.as_ref().is_some_and(|now| has_all(&now.record)) {
            return Ok(RestoreVerdict::Kept);
        }
        if registry.losses().awaits_of_others(view, &id) {
            return Ok(RestoreVerdict::Refused(
                "daemons are about to put it back as they knew it".to_owned(),
            ));
        }
        let whole = registry.losses().whole_of(&record);
        if whole.as_ref().is_some_and(|whole| view.get(whole).is_some()) {
            return Ok(RestoreVerdict::Kept);
        }
        if let Some(merger) = self.mergers.of(&id.kind) {
            let lost = ToRestore::of_snapshot(Arc::new(ViewRecord::new(of.epoch, record)));
            if now.as_deref().is_some_and(|now| merger.is_whole(&lost, now)) {
                return Ok(RestoreVerdict::Kept);
            }
            let version = now.as_ref().map_or(Version(0), |now| now.record.version);
            return Ok(match merger.merge(registry, &lost, now.as_deref()).await? {
                MergeOutcome::Restored | MergeOutcome::Superseded => RestoreVerdict::Kept,
                MergeOutcome::Unknown => RestoreVerdict::Refused(NOT_MERGED.to_owned()),
                MergeOutcome::Put(value) => RestoreVerdict::PutBack(PutBack {
                    write: Write::Put { id: id.clone(), value, group: None },
                    expected: Some((id, version)),
                    is_merged: now.is_some(),
                }),
            });
        }
        if now.is_some() {
            return Ok(RestoreVerdict::Kept);
        }
        if id.kind == self.kinds.seals && !is_seal(&record) {
            return Ok(RestoreVerdict::Refused("it is no seal of the chain that its key names".to_owned()));
        }
        if let Err(why) = view.would_count(&id, &record.value) {
            return Ok(RestoreVerdict::Refused(why));
        }
        Ok(RestoreVerdict::PutBack(PutBack {
            write: import(record),
            expected: whole.map(|whole| (whole, Version(0))),
            is_merged: false,
        }))
    }

    /// Writes some records, but for those that somebody else has written meanwhile.
    async fn put_back(
        &self,
        caller: &Caller,
        reason: &str,
        mut some: Vec<PutBack>,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        while !some.is_empty() {
            let ids: BTreeSet<&RecordId> = some.iter().map(|put| put.write.id()).collect();
            // A whole that comes in the same commit is not there yet.
            let is_due = |put: &PutBack, id: &RecordId| put.write.id() == id || !ids.contains(id);
            let expected =
                some.iter().filter_map(|put| put.expected.clone().filter(|(id, _)| is_due(put, id)));
            let expected: BTreeSet<_> = expected.collect();
            let body = self.registry.body_of(caller, deed(&some, reason, false));
            let kinds = some.iter().map(|put| put.write.id().kind.clone());
            let act = DaemonAct {
                within: COMMIT_WITHIN,
                ..DaemonAct::new(RESTORE.audit_action, kinds, WriteAuthority::Unfenced)
            };
            let plan = CommitPlan::read_in(self.registry.view().head().epoch).expect(expected);
            let plan = plan.write(some.iter().map(|put| put.write.clone())).audit([body]);
            match self.registry.attempt(&act, plan).await {
                Ok(_) => {
                    some.iter().for_each(|put| tally.note(put));
                    return Ok(());
                }
                Err(CommitError::Conflict { id, .. }) if some.iter().any(|put| put.rests_on(&id)) => {
                    let before = some.len();
                    some.retain(|put| !put.rests_on(&id));
                    tally.kept += u32::try_from(before - some.len()).unwrap_or(0);
                }
                Err(error) => return Err(fault(&error)),
            }
        }
        Ok(())
    }

    fn answer(&self, tally: Tally, dry_run: bool) -> pb::RestoreSnapshotResponse {
        let Tally { restored, merged, kept, refused, refused_count } = tally;
        pb::RestoreSnapshotResponse {
            schema_version: SCHEMA_VERSION.to_owned(),
            cursor: head_cursor(self.registry.view()),
            changed: restored + merged > 0,
            dry_run,
            restored,
            merged,
            kept,
            refused,
            refused_count,
        }
    }
}

impl PutBack {
    /// Whether it is to be written only while this record is as it was.
    fn rests_on(&self, id: &RecordId) -> bool {
        self.write.id() == id || self.expected.as_ref().is_some_and(|(expected, _)| expected == id)
    }
}

/// Whether a seal is signed by the key of the chain that it is to stand in: nobody else's is to stop who seals there.
fn is_seal(record: &Record) -> bool {
    open(&record.value).is_ok_and(|opened| opened.chain().key(opened.seal.sequence) == record.id.key)
}

/// The write by which a record stands as it was.
fn import(record: Record) -> Write {
    let Record { id, value, version, revision, created_at, updated_at, writer, .. } = record;
    Write::Import {
        id,
        value,
        origin: RecordOrigin { version, revision, created_at, updated_at, writer },
        existing: ExistingRecord::Keep,
    }
}

/// How many of them fit into the next commit.
fn portion(due: &[PutBack]) -> usize {
    let mut bytes = 0;
    let fits = |put: &&PutBack| {
        bytes += put.write.value().map_or(0, |value| value.len());
        bytes <= BYTES_AT_ONCE
    };
    due.iter().take(AT_ONCE).take_while(fits).count().max(1)
}

/// What the trail says of it: how many of which kind.
fn deed<'a>(some: &[PutBack], reason: &'a str, dry_run: bool) -> AuditedAction<'a> {
    let kinds: BTreeSet<&RecordKind> = some.iter().map(|put| &put.write.id().kind).collect();
    let line = |kind: &&RecordKind| {
        let of_kind = some.iter().filter(|put| put.write.id().kind == **kind).count();
        format!("{}: {}", kind.0, count(of_kind as u64, "record"))
    };
    let changes = kinds.iter().map(line).collect();
    AuditedAction { action: RESTORE.audit_action, object: OBJECT.to_owned(), reason, dry_run, changes }
}

fn unreadable(error: &StoreError) -> Fault {
    let message = format!("the store cannot be read: {}; nothing more was put back", chain(error));
    Fault::new(reasons::STORE_UNAVAILABLE, message).hint("restore again: what is back stays")
}

fn fault(error: &CommitError) -> Fault {
    match error {
        CommitError::KindDenied { .. } | CommitError::Store(StoreError::Denied { .. }) => {
            let message = format!("this daemon may not write all of it: {}", chain(error));
            Fault::new(reasons::NOT_AN_ISSUER, message)
        }
        CommitError::Store(StoreError::OutcomeUnknown(_)) => {
            let message = "the store did not say whether records were put back";
            Fault::new(reasons::OUTCOME_UNKNOWN, message).hint("restore again: what is back stays")
        }
        CommitError::Store(StoreError::Full(_)) => {
            let message = format!("no room: {}", chain(error));
            Fault::new(reasons::STORE_FULL, message)
                .hint("make space, then restore again: what is back stays")
        }
        CommitError::Closed { .. } | CommitError::Declined(_) => gate_fault(RESTORE.audit_action, error)
            .unwrap_or_else(|| Fault::new(reasons::INTERNAL, "records were not put back")),
        _ => {
            let message = format!("records were not put back: {}", chain(error));
            Fault::new(reasons::STORE_UNAVAILABLE, message).hint("restore again: what is back stays")
        }
    }
}
