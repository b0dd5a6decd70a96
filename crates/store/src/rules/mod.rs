//! Rules of a store, apart from where it keeps its rows: pure steps over ordered byte tables.
//!
//! The memory and the embedded backend run these same rules. A step is given the time, checks
//! everything first and writes then, so a refused one leaves nothing behind.

mod answers;
mod commit;
mod groups;
mod housekeep;
mod keys;
mod leases;
mod log;
mod records;
mod replaced_lives;
mod retime;
mod rows;
mod verify;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;

use super::{Epoch, GroupId, LogEntry, RenewalGrace, Revision, StoreError};

pub(super) use answers::recall;
pub(super) use groups::{GroupState, Groups, secret_hash};
pub(super) use housekeep::{HousekeepingPart, STEP_ROWS_MAX};
pub(super) use keys::{answer as answer_key, end_of_prefix};
pub(super) use leases::leases;
pub(super) use log::{ReaderLag, behind, log_behind};
pub(super) use records::scan;
use replaced_lives::{ReplacedLife, ReplacedLives};
pub(super) use retime::follow;
pub(super) use rows::{
    group_from_row, group_row, heard_from_row, heard_row, log_row, state_from_row, state_row,
};
pub use verify::Inventory;
pub(super) use verify::verify;

/// An ordered table of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Records by kind and key, tombstones included.
    Records,
    /// Which records are bound to which life of a group.
    Members,
    /// Tombstones by the time of their deletion.
    Tombstones,
    /// The greatest version of a collected tombstone, by kind.
    VersionFloors,
    /// Leases by scope.
    Leases,
    /// Answers by idempotency key.
    Answers,
    /// Idempotency keys by the time of their answer.
    AnswerTimes,
    /// Log entries by revision.
    Log,
}

/// A stretch of one table: `from` inclusive, `to` exclusive.
#[derive(Clone, Debug)]
pub(super) struct TableStretch {
    pub table: Table,
    pub from: Vec<u8>,
    /// `None`: to the end of the table.
    pub to: Option<Vec<u8>>,
    pub backwards: bool,
}

/// Durability of a change: whether it must be there after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeDurability {
    Durably,
    /// As long as the machine runs, as a rule: what is lost is made good for.
    WhileRunning,
}

/// Visitor of rows, which sees one at a time; [`ControlFlow::Break`] ends the visit.
pub(super) type RowVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'a;

/// Groups that can be read.
pub(super) trait GroupTable {
    fn group(&self, id: &GroupId) -> Option<GroupState>;

    fn visit_groups(&self, visit: &mut dyn FnMut(&GroupId, &GroupState));

    /// Notes that the step rests on who was heard last. Where several processes share a store, that must still be so when
    /// the step is written.
    fn rest_on_heard(&self) {}
}

/// Groups that can be written: all that a pulse needs.
pub(super) trait GroupTableMut: GroupTable {
    fn put_group(
        &mut self,
        id: &GroupId,
        group: GroupState,
        keep: ChangeDurability,
    ) -> Result<(), StoreError>;
}

/// Tables that can be read.
pub(super) trait Tables: GroupTable {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Visits the rows of `stretch` in order.
    fn visit(&self, stretch: &TableStretch, visit: &mut RowVisitor<'_>) -> Result<(), StoreError>;
}

/// Tables that can be written. What an earlier call wrote, a later one reads.
pub(super) trait TablesMut: Tables + GroupTableMut {
    fn put(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<(), StoreError>;

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;

    /// Appends `entry` to the log.
    fn append(&mut self, key: &[u8], entry: &Arc<LogEntry>) -> Result<(), StoreError>;

    /// Has the state written, although no row is.
    fn note_state(&mut self) -> Result<(), StoreError>;

    fn delete_group(&mut self, id: &GroupId) -> Result<(), StoreError>;
}

/// State that a store keeps about itself as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub epoch: Epoch,
    pub head: Revision,
    /// The newest log entry that was trimmed; 0 before the first.
    pub trimmed_through: Revision,
    pub log_entries: u64,
    pub answers: u64,
    /// The greatest instance of a group that was collected.
    pub instance_floor: u64,
    pub quarantine_until: Millis,
    /// Store time before it was brought back, at most: each token is above it, whoever has forgotten those of before.
    pub token_floor: u64,
    /// When something was renewed last and how much grace was asked for then; no row has it.
    pub heard: LastRenewal,
    pub grace: Option<RenewalGrace>,
}

/// Last renewal of a group that the store has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastRenewal {
    /// 0: none yet.
    pub at: Millis,
    pub grace: Duration,
}

/// One step: the tables and the state it works on, and the instant it happens at.
pub(super) struct Step<'a, T> {
    pub tables: &'a mut T,
    pub state: &'a mut State,
    pub now: Millis,
}

impl TableStretch {
    /// All rows of `table` whose key begins with `prefix`.
    pub(crate) fn prefixed(table: Table, prefix: Vec<u8>) -> Self {
        let to = keys::end_of_prefix(&prefix);
        Self { table, from: prefix, to, backwards: false }
    }

    /// True if no key can be in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }

    /// All rows of `table`.
    pub(crate) fn whole(table: Table) -> Self {
        Self::prefixed(table, Vec::new())
    }
}

impl State {
    /// The instant that decides at `now` whether a record's group is over.
    pub(crate) fn judged_at(&self, tables: &impl GroupTable, now: Millis) -> Millis {
        self.grace_at(tables, now).map_or(now, |grace| grace.from)
    }

    /// The grace that has been given, or that will be once somebody is heard again.
    fn grace_at(&self, tables: &impl GroupTable, now: Millis) -> Option<RenewalGrace> {
        tables.rest_on_heard();
        let given = self.grace.filter(|grace| now < grace.until);
        let LastRenewal { at, grace } = self.heard;
        let silent = at > Millis(0) && !grace.is_zero() && now.since(at) > grace / 2;
        given.or_else(|| silent.then(|| RenewalGrace { from: at, until: now.after(grace) }))
    }

    /// Notes a renewal at `now` whose sender asks for `grace`.
    fn hear(&mut self, tables: &impl GroupTable, now: Millis, grace: Duration) {
        self.grace = self.grace_at(tables, now);
        self.heard = LastRenewal { at: now, grace };
    }
}

impl<T> Step<'_, T> {
    /// Refuses a call that was made for another epoch.
    fn check_epoch(&self, epoch: Epoch) -> Result<(), StoreError> {
        let current = self.state.epoch;
        if epoch == current { Ok(()) } else { Err(StoreError::EpochChanged { current }) }
    }
}

impl<T: TablesMut> Step<'_, T> {
    /// Until when nobody is judged gone, if nobody is now.
    fn spared_until(&self) -> Option<Millis> {
        let quarantine = Some(self.state.quarantine_until).filter(|until| self.now < *until);
        let grace = self.state.grace_at(self.tables, self.now).map(|grace| grace.until);
        quarantine.max(grace)
    }

    /// From now on for `length`, nobody is granted a scope or judged gone.
    pub(crate) fn quarantine(&mut self, length: Duration) -> Result<(), StoreError> {
        let until = self.state.quarantine_until.max(self.now.after(length));
        self.tables.note_state()?;
        self.state.quarantine_until = until;
        Ok(())
    }
}

/// A row that cannot be read.
pub(super) fn incompatible(what: impl Into<String>) -> StoreError {
    StoreError::Incompatible { what: what.into(), record: None }
}
