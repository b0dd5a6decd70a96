//! A commit as the arguments of its script, and what the script says became of it.

use std::sync::Arc;

use bytes::Bytes;
use redis::Cmd;

use super::super::rules::answer_key;
use super::super::{
    COMMIT_BYTES_MAX, Commit, CommitError, CommitOutcome, Epoch, ExistingRecord, GroupRef, LeaseOp, LogEntry,
    Precondition, Record, RecordChange, RecordId, RecordOrigin, Revision, StoreError, Version, Write, limits,
};
use super::reply::{self, Reply, incompatible};

/// Puts the commit behind the script's name.
pub(super) fn add_arguments(command: &mut Cmd, commit: &Commit) {
    let (fence_scope, fence_token) =
        commit.fence.as_ref().map_or(("", 0), |fence| (fence.scope.as_str(), fence.token));
    command.arg(commit.epoch.0).arg(commit.writer.as_ref()).arg(fence_scope).arg(fence_token);
    match &commit.idempotency {
        Some(of) => {
            command.arg(answer_key(&of.key)).arg(&of.request_hash.to_be_bytes()).arg(of.answer.as_ref())
        }
        None => command.arg("").arg("").arg(""),
    };
    command.arg(COMMIT_BYTES_MAX);
    command.arg(commit.preconditions.len()).arg(commit.writes.len()).arg(commit.leases.len());
    commit.preconditions.iter().for_each(|of| add_precondition(command, of));
    commit.writes.iter().for_each(|write| add_write(command, write));
    commit.leases.iter().for_each(|op| add_lease(command, op));
}

/// True for a commit that a full server takes too: it only gives back.
pub(super) fn only_frees(commit: &Commit) -> bool {
    let deletes = commit.writes.iter().all(|write| matches!(write, Write::Delete { .. }));
    let releases =
        commit.leases.iter().all(|op| matches!(op, LeaseOp::Release { .. } | LeaseOp::Forget { .. }));
    deletes && releases && commit.idempotency.is_none()
}

fn add_precondition(command: &mut Cmd, of: &Precondition) {
    match of {
        Precondition::Version { id, version } => {
            command.arg("v").arg(id.kind.0.as_ref()).arg(&id.key).arg(version.0)
        }
        Precondition::GroupLive(of) => command.arg("l").arg(&of.id.0).arg(of.instance),
        Precondition::GroupOver(of) => command.arg("o").arg(&of.id.0).arg(of.instance),
    };
}

fn add_write(command: &mut Cmd, write: &Write) {
    match write {
        Write::Put { id, value, group } => {
            let (group, instance) = group.as_ref().map_or(("", 0), |of| (of.id.0.as_str(), of.instance));
            command.arg("p").arg(id.kind.0.as_ref()).arg(&id.key).arg(value.as_ref()).arg(group).arg(instance)
        }
        Write::Delete { id } => command.arg("d").arg(id.kind.0.as_ref()).arg(&id.key),
        Write::Import {
            id,
            value,
            origin: RecordOrigin { version, revision, created_at, updated_at, writer },
            existing,
        } => {
            let what = match existing {
                ExistingRecord::Keep => "i",
                ExistingRecord::Replace => "I",
            };
            command.arg(what).arg(id.kind.0.as_ref()).arg(&id.key).arg(value.as_ref());
            command.arg(version.0).arg(revision.0).arg(created_at.0).arg(updated_at.0).arg(writer.as_ref())
        }
    };
}

fn add_lease(command: &mut Cmd, op: &LeaseOp) {
    match op {
        LeaseOp::Acquire { scope, holder, token_floor } => {
            command.arg("a").arg(scope).arg(&holder.id.0).arg(holder.instance).arg(token_floor)
        }
        LeaseOp::Release { scope, token } => command.arg("r").arg(scope).arg(token),
        LeaseOp::Forget { scope } => command.arg("f").arg(scope),
    };
}

/// Reads the outcome of `commit` from the reply.
pub(super) fn outcome(commit: Commit, mut reply: Reply) -> Result<CommitOutcome, CommitError> {
    let word = reply.text()?;
    match word.as_str() {
        "done" => Ok(CommitOutcome::Done(entry(commit, reply)?)),
        "replayed" => {
            Ok(CommitOutcome::Replayed { revision: Revision(reply.number()?), answer: reply.bytes()? })
        }
        "conflict" => Err(conflict(&commit, &mut reply)?),
        "over" => Err(CommitError::GroupOver(reply.group()?)),
        "live" => {
            let group = super::super::GroupId(reply.text()?);
            Err(CommitError::GroupLive { group, until: reply.millis()? })
        }
        "fenced" => Err(fenced(&commit, reply.number_or_none()?)),
        "held" => {
            let (scope, until) = (reply.text()?, reply.millis()?);
            let holder = if reply.is_empty() { None } else { Some(reply.group()?) };
            Err(CommitError::LeaseHeld { scope, holder, until })
        }
        "reused" => Err(CommitError::IdempotencyReused),
        "denied" => Err(CommitError::KindDenied { kind: super::super::RecordKind(reply.text()?.into()) }),
        "bytes" => Err(limits::commit_bytes(reply.count()?)
            .err()
            .map_or_else(|| incompatible("a commit refused for its bytes").into(), CommitError::from)),
        "epoch" => Err(StoreError::EpochChanged { current: Epoch(reply.number()?) }.into()),
        other => Err(incompatible(&format!("`{other}` as the outcome of a commit")).into()),
    }
}

/// True for a refusal that no time undoes: the same commit, if it comes later, is refused as well.
pub(super) fn is_final(refusal: &CommitError) -> bool {
    match refusal {
        CommitError::Conflict { expected, actual, .. } => *expected > Version(0) && expected < actual,
        CommitError::GroupOver(_) | CommitError::Fenced { .. } | CommitError::IdempotencyReused => true,
        CommitError::GroupLive { .. }
        | CommitError::LeaseHeld { .. }
        | CommitError::KindDenied { .. }
        | CommitError::Closed { .. }
        | CommitError::Declined(_) => false,
        CommitError::Store(StoreError::EpochChanged { .. } | StoreError::Invalid { .. }) => true,
        CommitError::Store(
            StoreError::Unavailable(_)
            | StoreError::Denied { .. }
            | StoreError::Full(_)
            | StoreError::OutcomeUnknown(_)
            | StoreError::Incompatible { .. },
        ) => false,
    }
}

fn conflict(commit: &Commit, reply: &mut Reply) -> Result<CommitError, StoreError> {
    let (place, actual) = (reply.count()?, Version(reply.number()?));
    match commit.preconditions.get(place.saturating_sub(1)) {
        Some(Precondition::Version { id, version }) => {
            Ok(CommitError::Conflict { id: id.clone(), expected: *version, actual })
        }
        Some(Precondition::GroupLive(_) | Precondition::GroupOver(_)) | None => {
            Err(incompatible("a conflict that is about no precondition"))
        }
    }
}

fn fenced(commit: &Commit, current: Option<u64>) -> CommitError {
    let fence = commit.fence.as_ref();
    let (scope, token) = fence.map_or((String::new(), 0), |fence| (fence.scope.clone(), fence.token));
    CommitError::Fenced { scope, token, current }
}

/// The log entry of a commit that was made, from what was asked and what only the server knows.
fn entry(commit: Commit, mut reply: Reply) -> Result<Arc<LogEntry>, StoreError> {
    let (revision, previous, at) = (Revision(reply.number()?), Revision(reply.number()?), reply.millis()?);
    let mut changes = Vec::new();
    let (mut leases, mut forgotten) = (Vec::new(), Vec::new());
    let mut writes = commit.writes.into_iter();
    while !reply.is_empty() {
        match reply.value()? {
            change @ redis::Value::Array(_) => {
                changes.push(change_of(&mut writes, Reply::of(change)?, revision, at, &commit.writer)?);
            }
            redis::Value::BulkString(lease) => reply::take_lease(lease.into(), &mut leases, &mut forgotten)?,
            _ => return Err(incompatible("the answer to a commit")),
        }
    }
    leases.sort_by(|one, other| one.scope.cmp(&other.scope));
    forgotten.sort();
    Ok(Arc::new(LogEntry { revision, previous, at, writer: commit.writer, changes, leases, forgotten }))
}

/// The change that the next effective write made: a deletion of what was not there made none, nor did an import of what was.
fn change_of(
    writes: &mut impl Iterator<Item = Write>,
    mut reply: Reply,
    revision: Revision,
    at: omnirelay_core::time::Millis,
    writer: &Arc<str>,
) -> Result<RecordChange, StoreError> {
    let (version, created_at, before) = (Version(reply.number()?), reply.millis()?, reply.bytes()?);
    let (key, kind) = (reply.text()?, reply.text()?);
    let write = writes.find(|write| write.id().key == key && write.id().kind.0 == kind);
    let write = write.ok_or_else(|| incompatible("a change that was not asked for"))?;
    let deleted = matches!(write, Write::Delete { .. });
    let (id, value, group, origin): (RecordId, Bytes, Option<GroupRef>, Option<RecordOrigin>) = match write {
        Write::Put { id, value, group } => (id, value, group, None),
        Write::Delete { id } => (id, Bytes::new(), None, None),
        Write::Import { id, value, origin, existing: _ } => (id, value, None, Some(origin)),
    };
    let (revision, updated_at, writer) = match origin {
        Some(origin) => (origin.revision, origin.updated_at, origin.writer),
        None => (revision, at, Arc::clone(writer)),
    };
    let before = (!before.is_empty()).then(|| reply::record(id.clone(), before)).transpose()?;
    let after = Record { id, value, version, revision, group, created_at, updated_at, writer, deleted };
    Ok(RecordChange { before, after, expired: false })
}
