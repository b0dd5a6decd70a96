//! The records of a kind, by their keys.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use omnirelay_core::ranges::{RangeIndex, RangeItem, RangePrefix, RecordDigest};

use super::ViewRecord;
use super::ranges::{digest_of, place_of};

/// Records in the order of their keys, and by them; the keys are kept in the records alone.
pub(super) struct OrderedRecords {
    ordered: BTreeSet<ByKey>,
    /// Where there are many, whose keys begin alike, one is found sooner so.
    by_key: HashSet<ByKey>,
    /// Sums of the ranges of those that are bound to no group; `None`: nobody compares them.
    index: Option<RangeIndex<ByKey>>,
    /// Of all keys and values.
    bytes: u64,
}

/// Records in the order of their keys, shared by all who read them.
#[derive(Clone, Default)]
pub(super) struct RecordList {
    pub records: Arc<Vec<Arc<ViewRecord>>>,
    /// Whether the life of any of them is that of a group.
    pub has_bound: bool,
}

#[derive(Clone)]
pub(super) struct ByKey(Arc<ViewRecord>);

impl RecordList {
    /// Of records in this order.
    pub(super) fn of(records: Vec<Arc<ViewRecord>>) -> Self {
        let has_bound = records.iter().any(|record| record.record.group.is_some());
        Self { records: Arc::new(records), has_bound }
    }
}

impl Default for OrderedRecords {
    /// None yet, with an index.
    fn default() -> Self {
        std::iter::empty().collect()
    }
}

impl OrderedRecords {
    /// Records that nobody compares.
    pub(super) fn unindexed(records: impl IntoIterator<Item = Arc<ViewRecord>>) -> Self {
        let mut all = Self {
            ordered: records.into_iter().map(ByKey).collect(),
            by_key: HashSet::new(),
            index: None,
            bytes: 0,
        };
        all.by_key = all.ordered.iter().cloned().collect();
        all.bytes = all.iter().map(|record| record.bytes()).sum();
        all
    }

    /// Index of their ranges.
    pub(super) fn index(&self) -> Option<&RangeIndex<ByKey>> {
        self.index.as_ref()
    }

    /// Those whose keys are behind `after`, up to `until`; `None`: from the first, or to the last.
    pub(super) fn between(
        &self,
        after: Option<&str>,
        until: Option<&str>,
    ) -> impl Iterator<Item = &Arc<ViewRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let to = until.map_or(Bound::Unbounded, Bound::Included);
        self.ordered.range::<str, _>((from, to)).map(|ByKey(record)| record)
    }

    /// Those of a range that are bound to no group, in no order.
    pub(super) fn within(&self, range: RangePrefix) -> impl Iterator<Item = &Arc<ViewRecord>> {
        let items = self.index.as_ref().map(|index| index.items(range)).unwrap_or_default();
        items.into_iter().map(|ByKey(record)| record)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<ViewRecord>> {
        self.by_key.get(key).map(|ByKey(record)| record)
    }

    pub(super) fn len(&self) -> usize {
        self.ordered.len()
    }

    /// Bytes of their keys and values.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<ViewRecord>> {
        self.ordered.iter().map(|ByKey(record)| record)
    }

    pub(super) fn list(&self) -> RecordList {
        RecordList::of(self.iter().cloned().collect())
    }

    /// Puts a record in the place of the one with its key.
    pub(super) fn put(&mut self, record: Arc<ViewRecord>) {
        self.bytes += record.bytes();
        let before = self.ordered.replace(ByKey(record.clone()));
        self.bytes -= before.as_ref().map_or(0, |ByKey(before)| before.bytes());
        if let Some(index) = &mut self.index {
            // What ends with a group ends at its time elsewhere.
            match (&record.record.group, before) {
                (None, _) => drop(index.put(ByKey(record.clone()))),
                (Some(_), Some(before)) => take_unbound(index, &before),
                (Some(_), None) => {}
            }
        }
        self.by_key.replace(ByKey(record));
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.ordered.remove(key);
        let Some(removed) = self.by_key.take(key) else { return };
        self.bytes -= removed.0.bytes();
        if let Some(index) = &mut self.index {
            take_unbound(index, &removed);
        }
    }
}

/// Takes a record out of the index, where it is unless a group binds it: nothing is hashed then.
fn take_unbound(index: &mut RangeIndex<ByKey>, record: &ByKey) {
    if record.0.record.group.is_none() {
        index.take(record);
    }
}

impl FromIterator<Arc<ViewRecord>> for OrderedRecords {
    fn from_iter<I: IntoIterator<Item = Arc<ViewRecord>>>(records: I) -> Self {
        let mut all = Self::unindexed(records);
        let unbound = all.ordered.iter().filter(|ByKey(record)| record.record.group.is_none());
        all.index = Some(unbound.cloned().collect());
        all
    }
}

impl RangeItem for ByKey {
    fn place(&self) -> u64 {
        place_of(&self.0.record.id)
    }

    fn digest(&self) -> RecordDigest {
        digest_of(&self.0.record)
    }

    fn has_key_of(&self, other: &Self) -> bool {
        self == other
    }
}

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        &self.0.record.id.key
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let key: &str = self.borrow();
        key.cmp(other.borrow())
    }
}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByKey {}

/// As its key, by which it is looked for.
impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let key: &str = self.borrow();
        key.hash(state);
    }
}
