//! The rules' tables in redb.
//!
//! Two tables of the file hold everything: the log has its own, because it only grows at its end;
//! all others share one, because each table that a transaction touches costs pages.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use redb::{
    ReadTransaction, ReadableTable, StorageError, Table as RedbTable, TableDefinition, WriteTransaction,
};

use super::super::rules::{
    self, GroupState, Keep, State, Stretch, Table, Tables, TablesMut, Visit, group_from_row, group_row,
    incompatible, log_row, state_from_row, state_row,
};
use super::super::{GroupId, LogEntry, StoreError};
use super::failure::Failure;
use super::opening::Opening;
use super::shared::Groups;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const LOG: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("log");

/// The version of the rows that this program writes and reads.
pub(super) const SCHEMA: u32 = 1;

const SCHEMA_KEY: &[u8] = &[0, 0];
const STATE_KEY: &[u8] = &[0, 1];
const GROUPS_PREFIX: u8 = 1;

/// The state as a file has it, the greatest time written to it, the number of its last batch, and
/// which opening of the file wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub state: State,
    pub clock: Millis,
    pub batch: u64,
    pub opening: Opening,
}

/// A snapshot of the file, with the groups as they are now.
pub(super) struct Snapshot<'a> {
    rows: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    log: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    groups: &'a dyn Fn(&GroupId) -> Option<GroupState>,
}

/// The tables inside one write transaction. Nothing of it shows before the transaction is committed.
pub(super) struct Batch<'a> {
    rows: RedbTable<'a, &'static [u8], &'static [u8]>,
    log: RedbTable<'a, &'static [u8], &'static [u8]>,
    groups: &'a Groups,
    /// If set, nothing is written durably, and this is why.
    refusal: Option<&'a Failure>,
    /// The first failure of the file; nothing that the batch found or wrote may be used then.
    broken: OnceCell<StorageError>,
    pub changed: Changed,
}

/// What a batch has changed.
#[derive(Default)]
pub(super) struct Changed {
    /// How often something was written durably.
    pub writes: u64,
    /// The groups as they are after it; `None` for a collected one.
    pub groups: BTreeMap<GroupId, Option<GroupState>>,
    pub entries: Vec<Arc<LogEntry>>,
}

/// Reads the version of the rows; `None` in a file without any.
pub(super) fn schema(transaction: &ReadTransaction) -> Result<Option<u32>, redb::Error> {
    let rows = match transaction.open_table(ROWS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        rows => rows?,
    };
    let Some(row) = rows.get(SCHEMA_KEY)? else { return Ok(None) };
    Ok(Some(row.value().try_into().map_or(u32::MAX, u32::from_be_bytes)))
}

/// Writes what every store has from its beginning.
pub(super) fn create(transaction: &WriteTransaction, written: &Written) -> Result<(), redb::Error> {
    let mut rows = transaction.open_table(ROWS)?;
    transaction.open_table(LOG)?;
    rows.insert(SCHEMA_KEY, SCHEMA.to_be_bytes().as_slice())?;
    rows.insert(STATE_KEY, written.row().as_slice())?;
    Ok(())
}

impl Written {
    fn row(&self) -> Vec<u8> {
        let Opening { id, before } = self.opening;
        state_row(&self.state, self.clock, self.batch, [id, before])
    }
}

impl<'a> Snapshot<'a> {
    pub fn of(
        transaction: &ReadTransaction,
        groups: &'a dyn Fn(&GroupId) -> Option<GroupState>,
    ) -> Result<Self, redb::TableError> {
        Ok(Self { rows: transaction.open_table(ROWS)?, log: transaction.open_table(LOG)?, groups })
    }

    pub fn written(&self) -> Result<Written, StoreError> {
        let row = self.rows.get(STATE_KEY).map_err(unavailable)?;
        let row = row.ok_or_else(|| incompatible("a file without the row about the store itself"))?;
        let (state, clock, batch, [id, before]) = state_from_row(row.value())?;
        Ok(Written { state, clock, batch, opening: Opening { id, before } })
    }

    /// Reads all groups from the file itself.
    pub fn written_groups(&self) -> Result<BTreeMap<GroupId, GroupState>, StoreError> {
        let mut groups = BTreeMap::new();
        let stretch = [GROUPS_PREFIX].as_slice()..[GROUPS_PREFIX + 1].as_slice();
        for entry in self.rows.range::<&[u8]>(stretch).map_err(unavailable)? {
            let (key, row) = entry.map_err(unavailable)?;
            let id = key.value().get(1..).unwrap_or_default();
            let id = GroupId(String::from_utf8_lossy(id).into_owned());
            let group = group_from_row(&id, row.value())?;
            groups.insert(id, group);
        }
        Ok(groups)
    }
}

impl Tables for Snapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let (redb, key) = (place(table, &self.rows, &self.log), place_key(table, key));
        Ok(redb.get(key.as_slice()).map_err(unavailable)?.map(|row| Bytes::copy_from_slice(row.value())))
    }

    fn visit(&self, stretch: &Stretch, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        walk(place(stretch.table, &self.rows, &self.log), stretch, visit, &unavailable)
    }

    fn group(&self, id: &GroupId) -> Option<GroupState> {
        (self.groups)(id)
    }

    /// Readers ask for groups one by one.
    fn visit_groups(&self, _: &mut dyn FnMut(&GroupId, &GroupState)) {}
}

impl<'a> Batch<'a> {
    pub fn of(
        transaction: &'a WriteTransaction,
        groups: &'a Groups,
        refusal: Option<&'a Failure>,
    ) -> Result<Self, redb::TableError> {
        Ok(Self {
            rows: transaction.open_table(ROWS)?,
            log: transaction.open_table(LOG)?,
            groups,
            refusal,
            broken: OnceCell::new(),
            changed: Changed::default(),
        })
    }

    pub fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    pub fn put_written(&mut self, written: &Written) -> Result<(), StoreError> {
        self.insert(STATE_KEY.to_vec(), Table::Records, &written.row())
    }

    fn insert(&mut self, key: Vec<u8>, table: Table, row: &[u8]) -> Result<(), StoreError> {
        self.refuse()?;
        let redb = if table == Table::Log { &mut self.log } else { &mut self.rows };
        let result = redb.insert(key.as_slice(), row).map(|_| ());
        self.wrote(result)
    }

    fn remove(&mut self, key: &[u8], table: Table) -> Result<(), StoreError> {
        self.refuse()?;
        let redb = if table == Table::Log { &mut self.log } else { &mut self.rows };
        let result = redb.remove(key).map(|_| ());
        self.wrote(result)
    }

    fn refuse(&self) -> Result<(), StoreError> {
        self.refusal.map_or(Ok(()), |failure| Err(failure.not_made()))
    }

    fn wrote(&mut self, result: Result<(), StorageError>) -> Result<(), StoreError> {
        self.changed.writes += 1;
        result.map_err(|error| self.broke(error))
    }

    fn broke(&self, error: StorageError) -> StoreError {
        let shown = unavailable(format!("{error}"));
        // Only the first one tells what happened.
        let _ = self.broken.set(error);
        shown
    }
}

impl Tables for Batch<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let key = place_key(table, key);
        let redb = if table == Table::Log { &self.log } else { &self.rows };
        match redb.get(key.as_slice()) {
            Ok(row) => Ok(row.map(|row| Bytes::copy_from_slice(row.value()))),
            Err(error) => Err(self.broke(error)),
        }
    }

    fn visit(&self, stretch: &Stretch, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let redb = if stretch.table == Table::Log { &self.log } else { &self.rows };
        walk(redb, stretch, visit, &|error| self.broke(error))
    }

    fn group(&self, id: &GroupId) -> Option<GroupState> {
        match self.changed.groups.get(id) {
            Some(group) => group.clone(),
            None => self.groups.get(id).cloned(),
        }
    }

    fn visit_groups(&self, visit: &mut dyn FnMut(&GroupId, &GroupState)) {
        let unchanged = self.groups.iter().filter(|(id, _)| !self.changed.groups.contains_key(id));
        unchanged.for_each(|(id, group)| visit(id, group));
        let changed = self.changed.groups.iter().filter_map(|(id, group)| Some((id, group.as_ref()?)));
        changed.for_each(|(id, group)| visit(id, group));
    }
}

impl TablesMut for Batch<'_> {
    fn put(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<(), StoreError> {
        self.insert(place_key(table, key), table, row)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.remove(&place_key(table, key), table)
    }

    fn append(&mut self, key: &[u8], entry: &Arc<LogEntry>) -> Result<(), StoreError> {
        self.put(Table::Log, key, &log_row(entry))?;
        self.changed.entries.push(Arc::clone(entry));
        Ok(())
    }

    fn note_state(&mut self) -> Result<(), StoreError> {
        self.refuse()?;
        self.changed.writes += 1;
        Ok(())
    }

    fn put_group(&mut self, id: &GroupId, group: GroupState, keep: Keep) -> Result<(), StoreError> {
        if keep == Keep::Durably {
            self.insert(group_key(id), Table::Records, &group_row(&group))?;
        }
        self.changed.groups.insert(id.clone(), Some(group));
        Ok(())
    }

    fn delete_group(&mut self, id: &GroupId) -> Result<(), StoreError> {
        self.remove(&group_key(id), Table::Records)?;
        self.changed.groups.insert(id.clone(), None);
        Ok(())
    }
}

fn place<'a, T>(table: Table, rows: &'a T, log: &'a T) -> &'a T {
    if table == Table::Log { log } else { rows }
}

/// The table's part of the shared one: its number, then the key. The log needs no number.
fn place_key(table: Table, key: &[u8]) -> Vec<u8> {
    let number: &[u8] = match table {
        Table::VersionFloors => &[2],
        Table::Leases => &[3],
        Table::Members => &[4],
        Table::Tombstones => &[5],
        Table::Records => &[6],
        Table::Answers => &[7],
        Table::AnswerTimes => &[8],
        Table::Log => &[],
    };
    [number, key].concat()
}

fn group_key(id: &GroupId) -> Vec<u8> {
    [[GROUPS_PREFIX].as_slice(), id.0.as_bytes()].concat()
}

fn walk(
    redb: &impl ReadableTable<&'static [u8], &'static [u8]>,
    stretch: &Stretch,
    visit: &mut Visit<'_>,
    failed: &dyn Fn(StorageError) -> StoreError,
) -> Result<(), StoreError> {
    if stretch.is_empty() {
        return Ok(());
    }
    let from = place_key(stretch.table, &stretch.from);
    let number = from.len() - stretch.from.len();
    let to = match &stretch.to {
        Some(to) => Some(place_key(stretch.table, to)),
        None => rules::end_of_prefix(from.get(..number).unwrap_or_default()),
    };
    let mut rows = match &to {
        Some(to) => redb.range(from.as_slice()..to.as_slice()),
        None => redb.range(from.as_slice()..),
    }
    .map_err(failed)?;
    loop {
        let next = if stretch.backwards { rows.next_back() } else { rows.next() };
        let Some(row) = next else { return Ok(()) };
        let (key, row) = row.map_err(failed)?;
        if visit(key.value().get(number..).unwrap_or_default(), row.value())?.is_break() {
            return Ok(());
        }
    }
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}
