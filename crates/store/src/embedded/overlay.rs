//! Overlay of the store file: the newest state of each row that was changed in the write-ahead log, and not yet there.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use bytes::Bytes;

/// Tree of the file: one of its two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Rows,
    Log,
}

/// Rows by key; `None` for one that was deleted.
type RowChanges = BTreeMap<Bytes, Option<Bytes>>;

/// Changed rows of both tables.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    rows: RowChanges,
    log: RowChanges,
}

/// A walk through a stretch of an overlay, in one direction.
pub(super) struct OverlayWalk<'a> {
    range: Range<'a, Bytes, Option<Bytes>>,
    backwards: bool,
    head: Option<(&'a Bytes, &'a Option<Bytes>)>,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.log.is_empty()
    }

    pub(super) fn of(&self, tree: Tree) -> &RowChanges {
        match tree {
            Tree::Rows => &self.rows,
            Tree::Log => &self.log,
        }
    }

    /// Every change, table by table, in the order of the keys.
    pub(super) fn changes(&self) -> impl Iterator<Item = (Tree, &Bytes, Option<&Bytes>)> {
        let changes = |tree| self.of(tree).iter().map(move |(key, row)| (tree, key, row.as_ref()));
        changes(Tree::Rows).chain(changes(Tree::Log))
    }

    /// Change of a row: its new bytes, or that it was removed; `None`: it was not changed.
    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> Option<Option<&Bytes>> {
        self.of(tree).get(key).map(Option::as_ref)
    }

    pub(super) fn set(&mut self, tree: Tree, key: Bytes, row: Option<Bytes>) {
        let changes = match tree {
            Tree::Rows => &mut self.rows,
            Tree::Log => &mut self.log,
        };
        changes.insert(key, row);
    }

    /// Takes over all that `newer` has changed.
    pub(super) fn absorb(&mut self, newer: Self) {
        self.rows.extend(newer.rows);
        self.log.extend(newer.log);
    }

    /// Walks from `from` to `to`, or to the end. `from` is not behind `to`.
    pub(super) fn walk(
        &self,
        tree: Tree,
        from: &[u8],
        to: Option<&[u8]>,
        backwards: bool,
    ) -> OverlayWalk<'_> {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.of(tree).range::<[u8], _>((Bound::Included(from), to));
        let mut walk = OverlayWalk { range, backwards, head: None };
        walk.advance();
        walk
    }
}

impl<'a> OverlayWalk<'a> {
    /// The next row, and what became of it.
    pub(super) fn head(&self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        self.head.map(|(key, row)| (key.as_ref(), row.as_deref()))
    }

    pub(super) fn advance(&mut self) {
        self.head = if self.backwards { self.range.next_back() } else { self.range.next() };
    }
}

/// Whether a walk comes to `key` before it comes to `other`.
pub(super) fn is_before(key: &[u8], other: &[u8], backwards: bool) -> bool {
    let order = key.cmp(other);
    order == if backwards { Ordering::Greater } else { Ordering::Less }
}
