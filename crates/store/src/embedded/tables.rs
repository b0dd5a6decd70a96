//! The rules' tables: the rows of the store file, beneath those that were changed since its last checkpoint.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::text::chain;
use parking_lot::{Mutex, MutexGuard};
use redb::{AccessGuard, Range, ReadableTable, StorageError};

use super::super::rules::{
    self, ChangeDurability, GroupState, GroupTable, GroupTableMut, Groups, RowVisitor, Table, TableStretch,
    Tables, TablesMut, group_from_row, group_row, incompatible, log_row,
};
use super::super::{GroupId, LogEntry, StoreError};
use super::base::{FileBase, FileTable};
use super::failure::FileFailure;
use super::lives::GroupLives;
use super::overlay::{Overlay, OverlayWalk, Tree, is_before};
use super::written_state::{STATE_KEY, WrittenState};

const GROUPS_PREFIX: u8 = 1;
/// The most overlays of one view: what a batch has changed, what the log holds, and what is being written to the file.
const LAYERS_MAX: usize = 3;

/// All rows: those of the file, and above them what was changed since, the newest layer first.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub base: &'a FileBase,
    pub layers: [Option<&'a Overlay>; LAYERS_MAX],
}

/// Snapshot of what is committed and may be seen.
pub(super) struct Snapshot<'a> {
    pub view: View<'a>,
    /// Locked only while groups are looked at, so that renewals go on.
    pub lives: &'a Mutex<GroupLives>,
}

/// The tables inside one batch. Nothing of it shows before the batch is durable.
pub(super) struct BatchTables<'a> {
    view: View<'a>,
    /// The groups, while a step is made: no renewal comes between what the step reads and what it writes.
    pub lives: Option<MutexGuard<'a, GroupLives>>,
    /// If set, nothing is written durably, and this is why.
    refusal: Option<&'a FileFailure>,
    /// The first failure of the file; nothing that the batch found or wrote may be used then.
    broken: OnceCell<StorageError>,
    pub changed: BatchChanges,
}

/// Changes that a batch has made.
#[derive(Default)]
pub(super) struct BatchChanges {
    /// How often something was written durably.
    pub writes: u64,
    /// About how many bytes that is.
    pub bytes: usize,
    pub rows: Overlay,
    /// The groups as they are after it; `None` for a collected one.
    pub groups: BTreeMap<GroupId, Option<GroupState>>,
    pub entries: Vec<Arc<LogEntry>>,
}

impl BatchChanges {
    /// Writes groups as they are, besides all else.
    pub(super) fn group_rows<'a>(groups: impl Iterator<Item = (&'a GroupId, &'a GroupState)>) -> Overlay {
        let mut rows = Overlay::default();
        for (id, group) in groups {
            rows.set(Tree::Rows, group_key(id).into(), Some(group_row(group).into()));
        }
        rows
    }
}

impl<'a> View<'a> {
    /// The rows of the file alone.
    pub(super) fn of_file(base: &'a FileBase) -> Self {
        Self { base, layers: [None; LAYERS_MAX] }
    }

    pub(super) fn written(&self) -> Result<WrittenState, StoreError> {
        let row = self.get(Tree::Rows, STATE_KEY).map_err(unavailable)?;
        WrittenState::from_row(
            &row.ok_or_else(|| incompatible("a file without the row about the store itself"))?,
        )
    }

    /// Reads all groups.
    pub(super) fn groups(&self) -> Result<Groups, StoreError> {
        let mut groups = Groups::new();
        let (from, to) = ([GROUPS_PREFIX], [GROUPS_PREFIX + 1]);
        self.walk(Tree::Rows, (&from, Some(&to)), false, &unavailable, &mut |key, row| {
            let id = GroupId(String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned());
            let group = group_from_row(&id, row)?;
            groups.insert(id, group);
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(groups)
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if let Some(row) = self.layers.iter().flatten().find_map(|layer| layer.get(tree, key)) {
            return Ok(row.cloned());
        }
        Ok(self.base.table(tree).get(key)?.map(|row| Bytes::copy_from_slice(row.value())))
    }

    fn visit(
        &self,
        stretch: &TableStretch,
        failed: &dyn Fn(StorageError) -> StoreError,
        visit: &mut RowVisitor<'_>,
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
        let ends = (from.as_slice(), to.as_deref());
        self.walk(tree_of(stretch.table), ends, stretch.backwards, failed, &mut |key, row| {
            visit(key.get(number..).unwrap_or_default(), row)
        })
    }

    /// Goes through a stretch of all layers together; a row of a newer one hides that of an older one.
    fn walk(
        &self,
        tree: Tree,
        (from, to): (&[u8], Option<&[u8]>),
        backwards: bool,
        failed: &dyn Fn(StorageError) -> StoreError,
        visit: &mut RowVisitor<'_>,
    ) -> Result<(), StoreError> {
        let mut layers = self.layers.map(|layer| Some(layer?.walk(tree, from, to, backwards)));
        let mut file = FileWalk::of(self.base.table(tree), from, to, backwards).map_err(failed)?;
        loop {
            // Of equal keys the first stays, which is that of the newest layer.
            let next =
                layers.iter().flatten().filter_map(OverlayWalk::head).reduce(|first, other| {
                    if is_before(other.0, first.0, backwards) { other } else { first }
                });
            while let Some((key, row)) = file.head()
                && next.is_none_or(|(next, _)| is_before(key, next, backwards))
            {
                if visit(key, row)?.is_break() {
                    return Ok(());
                }
                file.advance().map_err(failed)?;
            }
            let Some((key, row)) = next else { return Ok(()) };
            if let Some(row) = row
                && visit(key, row)?.is_break()
            {
                return Ok(());
            }
            if file.head().is_some_and(|(other, _)| other == key) {
                file.advance().map_err(failed)?;
            }
            for layer in layers.iter_mut().flatten() {
                if layer.head().is_some_and(|(other, _)| other == key) {
                    layer.advance();
                }
            }
        }
    }
}

/// A walk through a stretch of a table of the file.
struct FileWalk<'a> {
    range: Range<'a, &'static [u8], &'static [u8]>,
    backwards: bool,
    head: Option<(FileBytes<'a>, FileBytes<'a>)>,
}

/// Bytes of the file.
type FileBytes<'a> = AccessGuard<'a, &'static [u8]>;

impl<'a> FileWalk<'a> {
    fn of(
        table: &'a FileTable,
        from: &[u8],
        to: Option<&[u8]>,
        backwards: bool,
    ) -> Result<Self, StorageError> {
        let range = match to {
            Some(to) => ReadableTable::range::<&[u8]>(table, from..to)?,
            None => ReadableTable::range::<&[u8]>(table, from..)?,
        };
        let mut walk = Self { range, backwards, head: None };
        walk.advance()?;
        Ok(walk)
    }

    fn head(&self) -> Option<(&[u8], &[u8])> {
        self.head.as_ref().map(|(key, row)| (key.value(), row.value()))
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        let next = if self.backwards { self.range.next_back() } else { self.range.next() };
        self.head = next.transpose()?;
        Ok(())
    }
}

impl Tables for Snapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.view.get(tree_of(table), &place_key(table, key)).map_err(unavailable)
    }

    fn visit(&self, stretch: &TableStretch, visit: &mut RowVisitor<'_>) -> Result<(), StoreError> {
        self.view.visit(stretch, &unavailable, visit)
    }
}

impl GroupTable for Snapshot<'_> {
    fn group(&self, id: &GroupId) -> Option<GroupState> {
        self.lives.lock().groups.get(id).cloned()
    }

    fn visit_groups(&self, visit: &mut dyn FnMut(&GroupId, &GroupState)) {
        self.lives.lock().groups.iter().for_each(|(id, group)| visit(id, group));
    }
}

impl<'a> BatchTables<'a> {
    /// A batch on what is committed.
    pub(super) fn on(view: View<'a>, refusal: Option<&'a FileFailure>) -> Self {
        Self { view, lives: None, refusal, broken: OnceCell::new(), changed: BatchChanges::default() }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    pub(super) fn put_written(&mut self, written: &WrittenState) {
        let row = Bytes::from(written.row());
        self.changed.rows.set(Tree::Rows, Bytes::from_static(STATE_KEY), Some(row));
    }

    fn set(&mut self, tree: Tree, key: Vec<u8>, row: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.refuse()?;
        self.changed.writes += 1;
        self.changed.bytes += key.len() + row.as_ref().map_or(0, Vec::len);
        self.changed.rows.set(tree, key.into(), row.map(Bytes::from));
        Ok(())
    }

    fn change_group(&mut self, id: &GroupId, group: Option<GroupState>) {
        self.changed.groups.insert(id.clone(), group);
        if let Some(lives) = &mut self.lives {
            lives.hold_up(id);
        }
    }

    fn refuse(&self) -> Result<(), StoreError> {
        self.refusal.map_or(Ok(()), |failure| Err(failure.not_made()))
    }

    fn broke(&self, error: StorageError) -> StoreError {
        let shown = unavailable(chain(&error));
        // Only the first one tells what happened.
        let _ = self.broken.set(error);
        shown
    }

    /// All rows as this batch leaves them.
    fn seen(&self) -> View<'_> {
        let [_, active, frozen] = self.view.layers;
        View { base: self.view.base, layers: [Some(&self.changed.rows), active, frozen] }
    }
}

impl Tables for BatchTables<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.seen().get(tree_of(table), &place_key(table, key)).map_err(|error| self.broke(error))
    }

    fn visit(&self, stretch: &TableStretch, visit: &mut RowVisitor<'_>) -> Result<(), StoreError> {
        self.seen().visit(stretch, &|error| self.broke(error), visit)
    }
}

impl GroupTable for BatchTables<'_> {
    fn group(&self, id: &GroupId) -> Option<GroupState> {
        match self.changed.groups.get(id) {
            Some(group) => group.clone(),
            None => self.lives.as_ref()?.groups.get(id).cloned(),
        }
    }

    fn visit_groups(&self, visit: &mut dyn FnMut(&GroupId, &GroupState)) {
        let known = self.lives.iter().flat_map(|lives| &lives.groups);
        let unchanged = known.filter(|(id, _)| !self.changed.groups.contains_key(*id));
        unchanged.for_each(|(id, group)| visit(id, group));
        let changed = self.changed.groups.iter().filter_map(|(id, group)| Some((id, group.as_ref()?)));
        changed.for_each(|(id, group)| visit(id, group));
    }
}

impl GroupTableMut for BatchTables<'_> {
    fn put_group(
        &mut self,
        id: &GroupId,
        group: GroupState,
        keep: ChangeDurability,
    ) -> Result<(), StoreError> {
        if keep == ChangeDurability::Durably {
            self.set(Tree::Rows, group_key(id), Some(group_row(&group)))?;
        }
        self.change_group(id, Some(group));
        Ok(())
    }
}

impl TablesMut for BatchTables<'_> {
    fn put(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<(), StoreError> {
        self.set(tree_of(table), place_key(table, key), Some(row.to_vec()))
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.set(tree_of(table), place_key(table, key), None)
    }

    fn append(&mut self, key: &[u8], entry: &Arc<LogEntry>) -> Result<(), StoreError> {
        self.set(Tree::Log, place_key(Table::Log, key), Some(log_row(entry)))?;
        self.changed.entries.push(Arc::clone(entry));
        Ok(())
    }

    fn note_state(&mut self) -> Result<(), StoreError> {
        self.refuse()?;
        self.changed.writes += 1;
        Ok(())
    }

    fn delete_group(&mut self, id: &GroupId) -> Result<(), StoreError> {
        self.set(Tree::Rows, group_key(id), None)?;
        self.change_group(id, None);
        Ok(())
    }
}

fn tree_of(table: Table) -> Tree {
    if table == Table::Log { Tree::Log } else { Tree::Rows }
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

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}
