//! Tables of one run of a step: over the rows that were read, with what the step changes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::time::Millis;

use super::HEARD;
use super::loaded::LoadedRows;
use super::medium::{KeyRange, RangeQuery, RowVersion, RowWrite};
use crate::rules::{
    self, ChangeDurability, GroupState, GroupTable, GroupTableMut, RowVisitor, Table, TableStretch, Tables,
    TablesMut,
};
use crate::{GroupId, LogEntry, StoreError};

/// The most rows of a stretch that are asked for at a time.
const QUERY_ROWS_MAX: usize = 512;

/// What the keys of groups begin with.
const GROUPS: u8 = b'g';

/// Tables as one run sees them. What it asks for and was not read counts as absent there and is noted: the run is void then.
pub(super) struct RunTables<'a> {
    loaded: &'a LoadedRows,
    now: Millis,
    changed: BTreeMap<Vec<u8>, Option<Bytes>>,
    missing: RefCell<Vec<RangeQuery>>,
    /// Where the ranges begin that were looked into.
    used: RefCell<BTreeSet<Vec<u8>>>,
    /// A row that cannot be read, where the rules expect none.
    unreadable: RefCell<Option<StoreError>>,
    /// When the first of the lives ends that were found live.
    live_until: Cell<Option<Millis>>,
}

/// Result of a run for the medium.
pub(super) struct RunChanges {
    pub writes: Vec<RowWrite>,
    /// Where the ranges begin that it rests on.
    pub used: BTreeSet<Vec<u8>>,
    pub live_until: Option<Millis>,
}

impl<'a> RunTables<'a> {
    pub(super) fn over(loaded: &'a LoadedRows, now: Millis) -> Self {
        let (missing, used) = (RefCell::default(), RefCell::default());
        let (unreadable, live_until) = (RefCell::default(), Cell::default());
        Self { loaded, now, changed: BTreeMap::new(), missing, used, unreadable, live_until }
    }

    /// Takes what the run lacked; nothing: its result counts.
    pub(super) fn take_missing(&self) -> Vec<RangeQuery> {
        self.missing.take()
    }

    /// Version at which the first rows of the attempt were read.
    pub(super) fn read_at(&self) -> RowVersion {
        self.loaded.first.unwrap_or_default()
    }

    /// Changes that the run has made.
    ///
    /// # Errors
    /// When a row could not be read.
    pub(super) fn into_changes(self) -> Result<RunChanges, StoreError> {
        if let Some(error) = self.unreadable.into_inner() {
            return Err(error);
        }
        let writes = self.changed.into_iter().map(|(key, row)| RowWrite { key, row }).collect();
        Ok(RunChanges { writes, used: self.used.into_inner(), live_until: self.live_until.get() })
    }

    /// The row under a key of the medium.
    pub(super) fn row(&self, key: &[u8]) -> Option<Bytes> {
        if let Some(changed) = self.changed.get(key) {
            return changed.clone();
        }
        let range = KeyRange::of_key(key);
        if self.known_part(&range, false).is_none() {
            self.missing.borrow_mut().push(RangeQuery::of_key(key));
        }
        self.loaded.row(key).cloned()
    }

    /// The part of `range` that is known, on which the run rests from now on.
    fn known_part(&self, range: &KeyRange, backwards: bool) -> Option<KeyRange> {
        let part = self.loaded.known_part(range, backwards)?;
        let mut used = self.used.borrow_mut();
        if let Some(begin) = self.loaded.begin_of(&part).filter(|begin| !used.contains(*begin)) {
            used.insert(begin.to_vec());
        }
        Some(part)
    }

    pub(super) fn put_row(&mut self, key: Vec<u8>, row: Vec<u8>) {
        self.changed.insert(key, Some(row.into()));
    }

    /// Visits rows by their keys of the medium, as far as they are known.
    fn visit_rows(
        &self,
        mut rest: KeyRange,
        backwards: bool,
        visit: &mut RowVisitor<'_>,
    ) -> Result<(), StoreError> {
        while !rest.is_empty() {
            let Some(part) = self.known_part(&rest, backwards) else {
                let query = RangeQuery { range: rest, backwards, rows_max: QUERY_ROWS_MAX };
                self.missing.borrow_mut().push(query);
                return Ok(());
            };
            let rows = self.rows_in(&part);
            let mut rows = rows.iter();
            while let Some((key, row)) = if backwards { rows.next_back() } else { rows.next() } {
                if visit(key, row)?.is_break() {
                    return Ok(());
                }
            }
            if backwards { rest.to = part.from } else { rest.from = part.to }
        }
        Ok(())
    }

    fn rows_in<'b>(&'b self, part: &'b KeyRange) -> BTreeMap<&'b [u8], &'b Bytes> {
        let mut rows: BTreeMap<&[u8], &Bytes> = self.loaded.rows_in(part).collect();
        let bounds = (Bound::Included(part.from.as_slice()), Bound::Excluded(part.to.as_slice()));
        for (key, row) in self.changed.range::<[u8], _>(bounds) {
            match row {
                Some(row) => rows.insert(key, row),
                None => rows.remove(key.as_slice()),
            };
        }
        rows
    }

    /// The group that `row` is of, which counts as absent where it cannot be read.
    fn read_group(&self, id: &GroupId, row: &[u8]) -> Option<GroupState> {
        match rules::group_from_row(id, row) {
            Ok(group) => {
                if group.is_live(self.now) {
                    let first =
                        self.live_until.get().map_or(group.deadline, |first| first.min(group.deadline));
                    self.live_until.set(Some(first));
                }
                Some(group)
            }
            Err(error) => {
                self.unreadable.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

impl GroupTable for RunTables<'_> {
    fn group(&self, id: &GroupId) -> Option<GroupState> {
        self.read_group(id, &self.row(&group_key(id))?)
    }

    fn visit_groups(&self, visit: &mut dyn FnMut(&GroupId, &GroupState)) {
        let all = KeyRange { from: vec![GROUPS], to: vec![GROUPS + 1] };
        let visited = self.visit_rows(all, false, &mut |key, row| {
            let id = std::str::from_utf8(key.get(1..).unwrap_or_default());
            let id = GroupId(id.map_err(|_| rules::incompatible("the id of a group"))?.to_owned());
            if let Some(group) = self.read_group(&id, row) {
                visit(&id, &group);
            }
            Ok(ControlFlow::Continue(()))
        });
        if let Err(error) = visited {
            self.unreadable.borrow_mut().get_or_insert(error);
        }
    }

    fn rest_on_heard(&self) {
        self.row(HEARD);
    }
}

impl GroupTableMut for RunTables<'_> {
    fn put_group(&mut self, id: &GroupId, group: GroupState, _: ChangeDurability) -> Result<(), StoreError> {
        self.put_row(group_key(id), rules::group_row(&group));
        Ok(())
    }
}

impl Tables for RunTables<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.row(&row_key(table, key)))
    }

    fn visit(&self, stretch: &TableStretch, visit: &mut RowVisitor<'_>) -> Result<(), StoreError> {
        let table = stretch.table;
        let to = stretch.to.as_ref().map_or_else(|| vec![prefix(table) + 1], |to| row_key(table, to));
        let range = KeyRange { from: row_key(table, &stretch.from), to };
        self.visit_rows(range, stretch.backwards, &mut |key, row| {
            visit(key.get(1..).unwrap_or_default(), row)
        })
    }
}

impl TablesMut for RunTables<'_> {
    fn put(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<(), StoreError> {
        self.put_row(row_key(table, key), row.to_vec());
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.changed.insert(row_key(table, key), None);
        Ok(())
    }

    fn append(&mut self, key: &[u8], entry: &Arc<LogEntry>) -> Result<(), StoreError> {
        self.put(Table::Log, key, &rules::log_row(entry))
    }

    fn note_state(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn delete_group(&mut self, id: &GroupId) -> Result<(), StoreError> {
        self.changed.insert(group_key(id), None);
        Ok(())
    }
}

/// What the keys of a table begin with, for good: the rows are in the medium.
fn prefix(table: Table) -> u8 {
    match table {
        Table::Records => b'r',
        Table::Members => b'm',
        Table::Tombstones => b't',
        Table::VersionFloors => b'v',
        Table::Leases => b'l',
        Table::Answers => b'a',
        Table::AnswerTimes => b'i',
        Table::Log => b'e',
    }
}

fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    prefixed(prefix(table), key)
}

fn group_key(id: &GroupId) -> Vec<u8> {
    prefixed(GROUPS, id.0.as_bytes())
}

fn prefixed(prefix: u8, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(1 + key.len());
    whole.push(prefix);
    whole.extend_from_slice(key);
    whole
}
