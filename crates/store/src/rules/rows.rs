//! The rows of the tables as bytes: `proto/omnirelay/store/v1/rows.proto`.

use std::time::Duration;

use bytes::{Buf, Bytes};
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_wire::pb::omnirelay::store::v1 as pb;
use prost::Message;

use super::super::{
    Epoch, GroupId, GroupRef, Lease, LogEntry, Record, RecordChange, RecordId, RecordKind, RenewalGrace,
    Revision, StoreError, Version,
};
use super::{GroupState, LastRenewal, ReplacedLife, ReplacedLives, State, incompatible};

/// An answer as it is kept under its idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredAnswer {
    pub request_hash: u64,
    pub answer: Bytes,
    pub revision: Revision,
    pub at: Millis,
}

/// The record that `row` is of; its value is a part of that where the row is shared bytes.
pub(super) fn record(id: RecordId, row: impl Buf) -> Result<Record, StoreError> {
    match pb::RecordRow::decode(row) {
        Ok(row) => Ok(record_from(id, row)),
        Err(_) => {
            let what = format!("the row of `{id}`");
            Err(StoreError::Incompatible { what, record: Some(Box::new(id)) })
        }
    }
}

pub(super) fn record_row(record: &Record) -> Vec<u8> {
    record_to(record).encode_to_vec()
}

pub(super) fn lease(scope: String, row: &[u8]) -> Result<Lease, StoreError> {
    let row = pb::LeaseRow::decode(row).map_err(|_| incompatible(format!("the lease of `{scope}`")))?;
    Ok(lease_from(scope, row))
}

pub(super) fn lease_row(lease: &Lease) -> Vec<u8> {
    lease_to(lease).encode_to_vec()
}

pub(super) fn answer(row: impl Buf) -> Result<StoredAnswer, StoreError> {
    let row = pb::AnswerRow::decode(row).map_err(|_| incompatible("an answer under an idempotency key"))?;
    Ok(StoredAnswer {
        request_hash: row.request_hash,
        answer: row.answer,
        revision: Revision(row.revision),
        at: Millis(row.at_ms),
    })
}

pub(super) fn answer_row(of: &StoredAnswer) -> Vec<u8> {
    pb::AnswerRow {
        request_hash: of.request_hash,
        answer: of.answer.clone(),
        revision: of.revision.0,
        at_ms: of.at.0,
    }
    .encode_to_vec()
}

pub(super) fn log_entry(revision: Revision, row: &[u8]) -> Result<LogEntry, StoreError> {
    let row = pb::LogRow::decode(row).map_err(|_| incompatible(format!("log entry {revision}")))?;
    let (forgotten, leases): (Vec<_>, Vec<_>) = row.leases.into_iter().partition(|of| of.forgotten);
    Ok(LogEntry {
        revision,
        previous: Revision(row.previous),
        at: Millis(row.at_ms),
        writer: row.writer.into(),
        changes: row.changes.into_iter().map(change_from).collect(),
        leases: leases.into_iter().map(|of| lease_from(of.scope, of.lease.unwrap_or_default())).collect(),
        forgotten: forgotten.into_iter().map(|of| of.scope).collect(),
    })
}

/// Time at which the entry of `row` was written, without reading the rest.
pub(super) fn log_at(revision: Revision, row: &[u8]) -> Result<Millis, StoreError> {
    let row = pb::LogAge::decode(row).map_err(|_| incompatible(format!("log entry {revision}")))?;
    Ok(Millis(row.at_ms))
}

pub(crate) fn log_row(entry: &LogEntry) -> Vec<u8> {
    pb::LogRow {
        previous: entry.previous.0,
        at_ms: entry.at.0,
        writer: entry.writer.to_string(),
        changes: entry.changes.iter().map(change_to).collect(),
        leases: entry
            .leases
            .iter()
            .map(held)
            .chain(entry.forgotten.iter().map(|scope| forgotten(scope)))
            .collect(),
    }
    .encode_to_vec()
}

fn held(lease: &Lease) -> pb::ScopeRow {
    pb::ScopeRow { scope: lease.scope.clone(), lease: Some(lease_to(lease)), forgotten: false }
}

fn forgotten(scope: &str) -> pb::ScopeRow {
    // An earlier version reads a lease that was given back.
    let lease = Some(pb::LeaseRow { released: true, ..pb::LeaseRow::default() });
    pb::ScopeRow { scope: scope.to_owned(), lease, forgotten: true }
}

/// Reads the row that [`group_row`] made.
pub(crate) fn group_from_row(id: &GroupId, row: &[u8]) -> Result<GroupState, StoreError> {
    let row = pb::GroupRow::decode(row).map_err(|_| incompatible(format!("the row of group `{id}`")))?;
    let replaced = replaced_from(&row);
    let secret_hash =
        row.secret_hash.try_into().map_err(|_| incompatible(format!("the secret's hash of group `{id}`")))?;
    Ok(GroupState {
        instance: row.instance,
        ttl: Duration::from_millis(row.ttl_ms),
        deadline: Millis(row.deadline_ms),
        renewed_at: Millis(row.renewed_at_ms),
        closed: row.closed,
        ended: row.ended,
        spared: row.spared,
        secret_hash,
        replaced,
        swept_through: row.swept_through,
    })
}

pub(crate) fn group_row(group: &GroupState) -> Vec<u8> {
    pb::GroupRow {
        instance: group.instance,
        ttl_ms: whole_ms(group.ttl),
        deadline_ms: group.deadline.0,
        renewed_at_ms: group.renewed_at.0,
        closed: group.closed,
        ended: group.ended,
        spared: group.spared,
        secret_hash: group.secret_hash.to_vec(),
        swept_through: group.swept_through,
        replaced: group.replaced.lives().iter().map(replaced_to).collect(),
        ..pb::GroupRow::default()
    }
    .encode_to_vec()
}

/// Reads the row that [`state_row`] made: the state, and about the file that it is in the greatest
/// time written, the batch, and the opening that wrote it with the one before.
pub(crate) fn state_from_row(row: &[u8]) -> Result<(State, Millis, u64, [u64; 2]), StoreError> {
    let row = pb::StateRow::decode(row).map_err(|_| incompatible("the row about the store itself"))?;
    let state = State {
        epoch: Epoch(row.epoch),
        head: Revision(row.head),
        trimmed_through: Revision(row.trimmed_through),
        log_entries: row.log_entries,
        answers: row.answers,
        instance_floor: row.instance_floor,
        quarantine_until: Millis(row.quarantine_until_ms),
        token_floor: row.token_floor,
        ..State::default()
    };
    Ok((state, Millis(row.clock_ms), row.batch, [row.opening, row.opening_before]))
}

pub(crate) fn state_row(state: &State, clock: Millis, batch: u64, openings: [u64; 2]) -> Vec<u8> {
    pb::StateRow {
        epoch: state.epoch.0,
        head: state.head.0,
        clock_ms: clock.0,
        trimmed_through: state.trimmed_through.0,
        log_entries: state.log_entries,
        answers: state.answers,
        instance_floor: state.instance_floor,
        quarantine_until_ms: state.quarantine_until.0,
        batch,
        opening: openings[0],
        opening_before: openings[1],
        token_floor: state.token_floor,
    }
    .encode_to_vec()
}

/// Reads the row that [`heard_row`] made.
pub(crate) fn heard_from_row(row: &[u8]) -> Result<(LastRenewal, Option<RenewalGrace>), StoreError> {
    let row = pb::HeardRow::decode(row).map_err(|_| incompatible("the row about the last renewal"))?;
    let heard = LastRenewal { at: Millis(row.at_ms), grace: Duration::from_millis(row.grace_ms) };
    let given = RenewalGrace { from: Millis(row.given_from_ms), until: Millis(row.given_until_ms) };
    Ok((heard, Some(given).filter(|given| given.until > Millis(0))))
}

/// The row of what a state has heard of renewals, for a store that several processes share: each hears for all of them.
pub(crate) fn heard_row(state: &State) -> Vec<u8> {
    let given = state.grace.unwrap_or(RenewalGrace { from: Millis(0), until: Millis(0) });
    pb::HeardRow {
        at_ms: state.heard.at.0,
        grace_ms: whole_ms(state.heard.grace),
        given_from_ms: given.from.0,
        given_until_ms: given.until.0,
    }
    .encode_to_vec()
}

fn record_from(id: RecordId, row: pb::RecordRow) -> Record {
    Record {
        id,
        value: row.value,
        version: Version(row.version),
        revision: Revision(row.revision),
        group: row.group.map(life_from),
        created_at: Millis(row.created_at_ms),
        updated_at: Millis(row.updated_at_ms),
        writer: row.writer.into(),
        deleted: row.deleted,
    }
}

fn record_to(record: &Record) -> pb::RecordRow {
    pb::RecordRow {
        value: record.value.clone(),
        version: record.version.0,
        revision: record.revision.0,
        group: record.group.as_ref().map(life_to),
        created_at_ms: record.created_at.0,
        updated_at_ms: record.updated_at.0,
        writer: record.writer.to_string(),
        deleted: record.deleted,
    }
}

fn change_from(row: pb::ChangeRow) -> RecordChange {
    let id = RecordId::new(RecordKind(row.kind.into()), row.key);
    RecordChange {
        before: row.before.map(|before| record_from(id.clone(), before)),
        after: record_from(id, row.after.unwrap_or_default()),
        expired: row.expired,
    }
}

fn change_to(change: &RecordChange) -> pb::ChangeRow {
    pb::ChangeRow {
        kind: change.after.id.kind.0.to_string(),
        key: change.after.id.key.clone(),
        before: change.before.as_ref().map(record_to),
        after: Some(record_to(&change.after)),
        expired: change.expired,
    }
}

fn lease_from(scope: String, row: pb::LeaseRow) -> Lease {
    Lease {
        scope,
        holder: life_from(row.holder.unwrap_or_default()),
        term: row.term,
        token: row.token,
        acquired_at: Millis(row.acquired_at_ms),
        released: row.released,
    }
}

fn lease_to(lease: &Lease) -> pb::LeaseRow {
    pb::LeaseRow {
        holder: Some(life_to(&lease.holder)),
        term: lease.term,
        token: lease.token,
        acquired_at_ms: lease.acquired_at.0,
        released: lease.released,
    }
}

/// A row from before there was a list has one life in two fields.
fn replaced_from(row: &pb::GroupRow) -> ReplacedLives {
    let alone = pb::ReplacedLife { instance: row.barrier_through, until_ms: row.barrier_ms };
    let alone = Some(alone).filter(|life| life.until_ms > 0);
    let lives = alone.iter().chain(&row.replaced);
    ReplacedLives::of(
        lives.map(|life| ReplacedLife { instance: life.instance, until: Millis(life.until_ms) }),
    )
}

fn replaced_to(life: &ReplacedLife) -> pb::ReplacedLife {
    pb::ReplacedLife { instance: life.instance, until_ms: life.until.0 }
}

fn life_from(life: pb::GroupLife) -> GroupRef {
    GroupRef { id: GroupId(life.id), instance: life.instance }
}

fn life_to(life: &GroupRef) -> pb::GroupLife {
    pb::GroupLife { id: life.id.0.clone(), instance: life.instance }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(replaced: ReplacedLives) -> GroupState {
        GroupState {
            instance: 7,
            ttl: Duration::from_secs(3),
            deadline: Millis(40),
            renewed_at: Millis(30),
            closed: false,
            ended: false,
            spared: true,
            secret_hash: [5; 32],
            replaced,
            swept_through: 4,
        }
    }

    fn replaced(lives: &[(u64, u64)]) -> ReplacedLives {
        ReplacedLives::of(
            lives.iter().map(|(instance, until)| ReplacedLife { instance: *instance, until: Millis(*until) }),
        )
    }

    #[test]
    fn a_group_is_read_as_it_was_written() {
        let id = GroupId("s".into());
        for lives in [&[][..], &[(6, 20)], &[(3, 50), (5, 20), (6, 60)]] {
            let group = group(replaced(lives));
            assert_eq!(group_from_row(&id, &group_row(&group)).unwrap(), group);
        }
    }

    #[test]
    fn a_row_that_tells_of_one_replaced_life_only_is_read() {
        let id = GroupId("s".into());
        let row = pb::GroupRow::decode(group_row(&group(ReplacedLives::default())).as_slice()).unwrap();
        let row = pb::GroupRow { barrier_ms: 50, barrier_through: 6, ..row };
        let read = group_from_row(&id, &row.encode_to_vec()).unwrap();
        assert_eq!(read, group(replaced(&[(6, 50)])));
    }
}
