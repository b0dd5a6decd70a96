//! The records of a kind, by their keys.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::ViewRecord;

/// Records in the order of their keys, and by them; the keys are kept in the records alone.
#[derive(Default)]
pub(super) struct OrderedRecords {
    ordered: BTreeSet<ByKey>,
    /// Where there are many, whose keys begin alike, one is found sooner so.
    by_key: HashSet<ByKey>,
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
struct ByKey(Arc<ViewRecord>);

impl RecordList {
    /// Of records in this order.
    pub(super) fn of(records: Vec<Arc<ViewRecord>>) -> Self {
        let has_bound = records.iter().any(|record| record.record.group.is_some());
        Self { records: Arc::new(records), has_bound }
    }
}

impl OrderedRecords {
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
        self.bytes -= before.map_or(0, |ByKey(before)| before.bytes());
        self.by_key.replace(ByKey(record));
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.ordered.remove(key);
        let removed = self.by_key.take(key);
        self.bytes -= removed.map_or(0, |ByKey(removed)| removed.bytes());
    }
}

impl FromIterator<Arc<ViewRecord>> for OrderedRecords {
    fn from_iter<I: IntoIterator<Item = Arc<ViewRecord>>>(records: I) -> Self {
        let mut all = Self { ordered: records.into_iter().map(ByKey).collect(), ..Self::default() };
        all.by_key = all.ordered.iter().cloned().collect();
        all.bytes = all.iter().map(|record| record.bytes()).sum();
        all
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
