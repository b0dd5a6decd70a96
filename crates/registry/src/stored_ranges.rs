//! Ranges of records that no view holds: their sums are made of what the store has, when somebody compares them.

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;
use std::sync::{Arc, Weak};
use std::time::Duration;

use omnirelay_core::ranges::{RangeIndex, RangeItem, RangePrefix, RangeSums, RecordDigest, ShortDigest};
use omnirelay_store::{Record, RecordKind, StoreError};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::Registry;
use super::cursor::Cursor;
use super::view::{View, digest_of, place_of};

/// How long sums are kept: a comparison asks several questions about the same.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Record of the store, as sums are made of it.
struct StoredRecord {
    key: Box<str>,
    place: u64,
    digest: RecordDigest,
}

impl RangeItem for StoredRecord {
    fn place(&self) -> u64 {
        self.place
    }

    fn digest(&self) -> RecordDigest {
        self.digest
    }

    fn has_key_of(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// Sums over the records of a kind in the store, traces of deleted ones aside, and their keys.
pub struct StoredRanges(RangeIndex<StoredRecord>);

impl StoredRanges {
    /// Keys of the records in a range, with their digests.
    pub fn keys(&self, range: RangePrefix) -> Vec<(&str, ShortDigest)> {
        let items = self.0.items(range).into_iter();
        items.map(|item| (&*item.key, item.digest.short())).collect()
    }

    /// Sums over them.
    pub fn sums(&self) -> &dyn RangeSums {
        &self.0
    }
}

/// Sums that were made a moment ago, by the kind, with the newest commit that had touched it by then.
#[derive(Default)]
pub(crate) struct RecentRanges(Mutex<BTreeMap<RecordKind, (Cursor, Weak<StoredRanges>)>>);

/// Sums over the records of some kinds: those that a view has, and those that were made of the store.
#[derive(Clone)]
pub struct KindRanges<'a> {
    view: &'a View,
    stored: BTreeMap<RecordKind, Arc<StoredRanges>>,
}

impl<'a> KindRanges<'a> {
    /// Those that a view has, and no others.
    pub fn of(view: &'a View) -> Self {
        Self { view, stored: BTreeMap::new() }
    }

    /// Looks at the sums of a kind; there are none of one that is not compared.
    pub fn with<T>(&self, kind: &RecordKind, look: impl FnOnce(&dyn RangeSums) -> T) -> T {
        match self.stored.get(kind) {
            Some(stored) => look(stored.sums()),
            None => self.view.with_ranges(kind, look),
        }
    }

    /// Ranges of a kind that were made of the store; `None`: the view has its records.
    pub fn stored(&self, kind: &RecordKind) -> Option<&Arc<StoredRanges>> {
        self.stored.get(kind)
    }
}

impl Registry {
    /// Sums over the records of these kinds. Of those that the view does not compare they are made of the store, which reads all of them
    /// unless that was done a moment ago; it takes about a hundred bytes of memory for each record meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn ranges_of(&self, mut kinds: Vec<RecordKind>) -> Result<KindRanges<'_>, StoreError> {
        let (mut ranges, compared) = (KindRanges::of(self.view()), self.view().compared_kinds());
        kinds.retain(|kind| !compared.contains(kind));
        for kind in kinds {
            let stored = self.stored_ranges(&kind).await?;
            ranges.stored.insert(kind, stored);
        }
        Ok(ranges)
    }

    async fn stored_ranges(&self, kind: &RecordKind) -> Result<Arc<StoredRanges>, StoreError> {
        // Whoever asks meanwhile waits: so the store is read once.
        let mut recent = self.recent_ranges.0.lock().await;
        let changed = self.view().changed(kind);
        let known = recent.get(kind).filter(|(at, _)| *at == changed);
        if let Some(known) = known.and_then(|(_, ranges)| ranges.upgrade()) {
            return Ok(known);
        }
        let mut index = RangeIndex::default();
        let each = |record: Record| {
            if !record.deleted {
                let (place, digest) = (place_of(&record.id), digest_of(&record));
                index.put(StoredRecord { key: record.id.key.into(), place, digest });
            }
            Continue(())
        };
        self.each_behind(kind, "", "", each).await?;
        let ranges = Arc::new(StoredRanges(index));
        recent.insert(kind.clone(), (changed, Arc::downgrade(&ranges)));
        let kept = ranges.clone();
        tokio::spawn(async move {
            sleep(KEPT_FOR).await;
            drop(kept);
        });
        Ok(ranges)
    }
}
