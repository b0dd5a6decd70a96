//! The records of a kind, by their keys.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::ViewRecord;

/// Records in the order of their keys, which are kept in the records alone.
#[derive(Clone, Default)]
pub(super) struct Records(BTreeSet<ByKey>);

#[derive(Clone)]
struct ByKey(Arc<ViewRecord>);

impl Records {
    pub fn get(&self, key: &str) -> Option<&Arc<ViewRecord>> {
        self.0.get(key).map(|ByKey(record)| record)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<ViewRecord>> {
        self.0.iter().map(|ByKey(record)| record)
    }

    /// Puts a record in the place of the one with its key.
    pub fn put(&mut self, record: Arc<ViewRecord>) {
        self.0.replace(ByKey(record));
    }

    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
}

impl FromIterator<Arc<ViewRecord>> for Records {
    fn from_iter<I: IntoIterator<Item = Arc<ViewRecord>>>(records: I) -> Self {
        Self(records.into_iter().map(ByKey).collect())
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
