//! The limits of the port, checked before a call reaches any state.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, Commit, GroupId, Idempotency, KEY_BYTES_MAX, LeaseFence, LeaseOp,
    ORIGIN_MAX, OpenGroup, PAGE_MAX, Precondition, Pulse, RecordId, RecordKind, RecordOrigin, Scan,
    StoreError, TOKEN_FLOOR_MAX, TTL_MAX, VALUE_BYTES_MAX, Write,
};

pub(super) fn commit(commit: &Commit) -> Result<(), StoreError> {
    let count = commit.writes.len().saturating_add(commit.leases.len());
    if count > COMMIT_WRITES_MAX {
        return refuse(format!(
            "a commit has {count} writes and lease operations, more than {COMMIT_WRITES_MAX}"
        ));
    }
    if commit.preconditions.len() > COMMIT_WRITES_MAX {
        let count = commit.preconditions.len();
        return refuse(format!("a commit has {count} preconditions, more than {COMMIT_WRITES_MAX}"));
    }
    writer(&commit.writer)?;
    commit.preconditions.iter().try_for_each(precondition)?;
    writes(&commit.writes)?;
    commit.leases.iter().try_for_each(lease)?;
    forgotten(&commit.leases)?;
    commit.fence.iter().try_for_each(|LeaseFence { scope, .. }| name("scope", scope))?;
    commit.idempotency.iter().try_for_each(idempotency)
}

pub(super) fn open_group(open: &OpenGroup) -> Result<(), StoreError> {
    group(&open.id)?;
    ttl(format_args!("group `{}`", open.id), open.ttl)?;
    name("secret", &open.secret)
}

pub(super) fn pulse(pulse: &Pulse) -> Result<(), StoreError> {
    let count = pulse.renew.len();
    if count > PAGE_MAX {
        return refuse(format!("a pulse renews {count} groups, more than {PAGE_MAX}"));
    }
    if pulse.epoch.is_none() && count > 0 {
        return refuse(format!("a pulse renews {count} groups and names no epoch"));
    }
    pulse.ttl.map_or(Ok(()), |renewed| ttl(format_args!("the groups of a pulse"), renewed))
}

fn ttl(whose: fmt::Arguments<'_>, ttl: Duration) -> Result<(), StoreError> {
    if ttl.as_millis() == 0 {
        return refuse(format!("the TTL of {whose} is shorter than 1 ms"));
    }
    if ttl > TTL_MAX {
        return refuse(format!("the TTL of {whose} is longer than {TTL_MAX:?}"));
    }
    Ok(())
}

pub(super) fn scan(scan: &Scan) -> Result<(), StoreError> {
    kind(&scan.kind)?;
    page(scan.limit)
}

/// Checks the size of a page of records or log entries.
pub(super) fn page(limit: usize) -> Result<(), StoreError> {
    if (1..=PAGE_MAX).contains(&limit) {
        return Ok(());
    }
    refuse(format!("a page of {limit} is not between 1 and {PAGE_MAX}"))
}

fn precondition(of: &Precondition) -> Result<(), StoreError> {
    match of {
        Precondition::Version { id, .. } => record(id),
        Precondition::GroupLive(of) | Precondition::GroupOver(of) => group(&of.id),
    }
}

fn writes(writes: &[Write]) -> Result<(), StoreError> {
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    for write in writes {
        let id = match write {
            Write::Put { id, value, group: bound } => {
                bytes += value_bytes(id, value)?;
                bound.iter().try_for_each(|bound| group(&bound.id))?;
                id
            }
            Write::Delete { id } => id,
            Write::Import { id, value, origin: of, existing: _ } => {
                bytes += value_bytes(id, value)?;
                origin(id, of)?;
                id
            }
        };
        record(id)?;
        if !seen.insert(id) {
            return refuse(format!("a commit writes `{id}` twice"));
        }
    }
    commit_bytes(bytes)
}

/// How long a value is, if it is not too long.
fn value_bytes(id: &RecordId, value: &[u8]) -> Result<usize, StoreError> {
    if value.len() > VALUE_BYTES_MAX {
        refuse(format!("the value of `{id}` is larger than {VALUE_BYTES_MAX} bytes"))?;
    }
    Ok(value.len())
}

fn origin(id: &RecordId, of: &RecordOrigin) -> Result<(), StoreError> {
    let counts = [("version", of.version.0), ("revision", of.revision.0)];
    if let Some((what, _)) = counts.iter().find(|(_, count)| !(1..=ORIGIN_MAX).contains(count)) {
        return refuse(format!("the {what} that `{id}` comes with is not between 1 and {ORIGIN_MAX}"));
    }
    if of.created_at.max(of.updated_at).0 > ORIGIN_MAX {
        return refuse(format!("a time that `{id}` comes with is later than {ORIGIN_MAX} ms"));
    }
    writer(&of.writer)
}

fn writer(name: &str) -> Result<(), StoreError> {
    if name.len() > KEY_BYTES_MAX {
        return refuse(format!("a writer's name is longer than {KEY_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Checks the bytes of the values of one log entry.
pub(super) fn commit_bytes(bytes: usize) -> Result<(), StoreError> {
    if bytes <= COMMIT_BYTES_MAX {
        return Ok(());
    }
    refuse(format!(
        "a commit has {bytes} bytes of values, those it replaces included, more than {COMMIT_BYTES_MAX}"
    ))
}

fn lease(op: &LeaseOp) -> Result<(), StoreError> {
    match op {
        LeaseOp::Acquire { scope, holder, token_floor } => {
            if *token_floor > TOKEN_FLOOR_MAX {
                return refuse(format!("the token floor of scope `{scope}` is above {TOKEN_FLOOR_MAX}"));
            }
            group(&holder.id)?;
            name("scope", scope)
        }
        LeaseOp::Release { scope, .. } | LeaseOp::Forget { scope } => name("scope", scope),
    }
}

/// Checks that what is forgotten is in no other operation.
fn forgotten(ops: &[LeaseOp]) -> Result<(), StoreError> {
    let mut scopes = BTreeSet::new();
    let twice: Vec<&str> = ops.iter().map(LeaseOp::scope).filter(|scope| !scopes.insert(*scope)).collect();
    let is_forgotten =
        |op: &LeaseOp| matches!(op, LeaseOp::Forget { scope } if twice.contains(&scope.as_str()));
    match ops.iter().find(|op| is_forgotten(op)) {
        Some(op) => refuse(format!("scope `{}` is forgotten, and in another operation too", op.scope())),
        None => Ok(()),
    }
}

fn idempotency(of: &Idempotency) -> Result<(), StoreError> {
    if of.answer.len() > VALUE_BYTES_MAX {
        return refuse(format!("an answer is larger than {VALUE_BYTES_MAX} bytes"));
    }
    if of.key.principal.len() > KEY_BYTES_MAX || of.key.method.len() > KEY_BYTES_MAX {
        return refuse(format!("part of an idempotency key is longer than {KEY_BYTES_MAX} bytes"));
    }
    name("idempotency id", &of.key.id)
}

fn record(id: &RecordId) -> Result<(), StoreError> {
    kind(&id.kind)?;
    name("record's key", &id.key)
}

fn kind(RecordKind(name): &RecordKind) -> Result<(), StoreError> {
    let letters =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    let fits = name.len() <= KEY_BYTES_MAX
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.bytes().all(letters);
    if fits { Ok(()) } else { refuse(format!("`{name}` is no kind: `[a-z][a-z0-9_-]*` is")) }
}

fn group(GroupId(id): &GroupId) -> Result<(), StoreError> {
    name("group's id", id)
}

fn name(what: &str, name: &str) -> Result<(), StoreError> {
    match name.len() {
        0 => refuse(format!("a {what} is empty")),
        1..=KEY_BYTES_MAX => Ok(()),
        bytes => refuse(format!("a {what} has {bytes} bytes, more than {KEY_BYTES_MAX}")),
    }
}

fn refuse(what: String) -> Result<(), StoreError> {
    Err(StoreError::Invalid { what })
}
