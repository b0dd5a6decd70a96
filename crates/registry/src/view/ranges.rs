//! Ranges of a view: what of its records is the same elsewhere, and what it expects of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_core::ranges::{RangeIndex, RangePrefix, RangeSums, RecordDigest};
use omnirelay_store::{Epoch, Record, RecordId, RecordKind, Revision};

use super::records::{ByKey, OrderedRecords};
use super::{State, View, ViewRecord, read, write};

/// Hash of a record's key, by which it has its place among ranges.
pub fn place_of(id: &RecordId) -> u64 {
    RecordDigest::of([id.kind.0.as_bytes(), id.key.as_bytes()]).first()
}

/// Digest of all that the store keeps of a record.
pub fn digest_of(record: &Record) -> RecordDigest {
    let (group, instance) = match &record.group {
        Some(group) => (group.id.0.as_bytes(), group.instance),
        None => (&[][..], 0),
    };
    let numbers = [record.version.0, record.revision.0, record.created_at.0, record.updated_at.0, instance];
    let mut words = [0; 40];
    for (word, number) in words.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *word = number.to_le_bytes();
    }
    RecordDigest::of([
        record.id.kind.0.as_bytes(),
        record.id.key.as_bytes(),
        &words,
        record.writer.as_bytes(),
        group,
        &record.value,
    ])
}

/// Some of the records of a kind.
#[derive(Clone, Copy, Debug)]
pub enum RecordScope<'a> {
    /// Those of ranges.
    Ranges(&'a [RangePrefix]),
    /// Those whose keys are behind `after`, up to `until`; `None`: from the first, or to the last.
    Keys { after: Option<&'a str>, until: Option<&'a str> },
}

/// Record as a view expects it in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedRecord {
    /// As it is held.
    Whole(Record),
    /// As it is held; its group is over, so that it ends there sooner or later than here.
    Over(Record),
    /// With this value, signature included, and version; its other fields nobody has signed.
    Signed(Record),
    /// Whatever it is: it does not count, and that is told elsewhere.
    Refused,
}

impl ExpectedRecord {
    /// Whether what the store has is what is expected; `None`: it has none.
    pub fn is(&self, stored: Option<&Record>) -> bool {
        match (self, stored) {
            (Self::Refused, _) | (Self::Over(_), None) => true,
            (Self::Whole(held) | Self::Over(held), Some(stored)) => held == stored,
            (Self::Signed(held), Some(stored)) => {
                held.value == stored.value && held.version == stored.version
            }
            (Self::Whole(_) | Self::Signed(_), None) => false,
        }
    }

    /// The record; `None`: nothing is expected of it.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Whole(record) | Self::Over(record) | Self::Signed(record) => Some(record),
            Self::Refused => None,
        }
    }
}

impl RecordScope<'_> {
    fn has(&self, id: &RecordId) -> bool {
        match self {
            Self::Ranges(ranges) => {
                let place = place_of(id);
                ranges.iter().any(|range| range.has(place))
            }
            Self::Keys { after, until } => {
                after.is_none_or(|after| id.key.as_str() > after)
                    && until.is_none_or(|until| id.key.as_str() <= until)
            }
        }
    }
}

impl View {
    /// The kinds that other daemons are asked about: those that are mirrored and not signed. What counts of a signed record depends on
    /// when it was judged, but for its value and version.
    pub fn compared_kinds(&self) -> Vec<RecordKind> {
        let state = read(&self.state);
        self.mirrored.iter().filter(|kind| !state.signed.has_kind(kind)).cloned().collect()
    }

    /// Looks at the sums over the records of a kind that stay by themselves; there are none of a kind that is not compared.
    pub fn with_ranges<T>(&self, kind: &RecordKind, look: impl FnOnce(&dyn RangeSums) -> T) -> T {
        let state = read(&self.state);
        match state.kinds.get(kind).and_then(OrderedRecords::index) {
            Some(index) => look(index),
            None => look(&RangeIndex::<ByKey>::default()),
        }
    }

    /// Number of the records of a kind in a range that stay by themselves.
    pub fn count_within(&self, kind: &RecordKind, range: RangePrefix) -> u64 {
        self.with_ranges(kind, |sums| sums.sum(range).count())
    }

    /// Records of some ranges as they were at a revision, by their keys: those that stay by themselves. `None`: the view is of another
    /// epoch, behind that revision, or does not reach back; or some record may be of a later commit.
    pub fn records_at(
        &self,
        kind: &RecordKind,
        (epoch, revision): (Epoch, Revision),
        ranges: &[RangePrefix],
    ) -> Option<BTreeMap<String, Record>> {
        let state = read(&self.state);
        let records = state.held_at(kind, (epoch, revision), RecordScope::Ranges(ranges))?;
        let unbound = records.into_iter().filter(|(_, record)| record.record.group.is_none());
        let unbound: BTreeMap<String, Record> =
            unbound.map(|(key, record)| (key, record.record.clone())).collect();
        unbound.values().all(|record| record.revision <= revision).then_some(unbound)
    }

    /// Records of a kind as this view expects them in the store at a revision, by their keys: those behind a key, up to another one.
    /// `None` as of [`View::records_at`].
    pub fn expected_at(
        &self,
        kind: &RecordKind,
        (epoch, revision): (Epoch, Revision),
        scope: RecordScope<'_>,
    ) -> Option<BTreeMap<String, ExpectedRecord>> {
        let state = read(&self.state);
        let now = self.judged_at(&state);
        let held = state.held_at(kind, (epoch, revision), scope)?;
        if state.signed.has_kind(kind) && !state.signed.is_all_judged() {
            return None;
        }
        let mut expected = BTreeMap::new();
        for (key, record) in held {
            let id = &record.record.id;
            if state.is_signed(id) {
                continue;
            }
            if record.record.revision > revision {
                return None;
            }
            let record_of = match state.is_live(&record, now) {
                true => ExpectedRecord::Whole(record.record.clone()),
                false => ExpectedRecord::Over(record.record.clone()),
            };
            expected.insert(key, record_of);
        }
        let signed = state.signed.expected(kind, |id| scope.has(id));
        expected.extend(signed.into_iter().map(|(id, one)| (id.key, one)));
        Some(expected)
    }

    /// Has what was told of this view before the next load taken as void: that mends what differs from the store.
    pub(crate) fn mend_by_next_load(&self) {
        write(&self.state).is_mended_by_load = true;
    }

    /// Whether the load that begins now mends what differs from the store.
    pub(crate) fn takes_mend(&self) -> bool {
        std::mem::take(&mut write(&self.state).is_mended_by_load)
    }
}

impl State {
    /// Records of a kind as they were held at a revision; of signed ones nothing is known when one of them has changed since.
    fn held_at(
        &self,
        kind: &RecordKind,
        (epoch, revision): (Epoch, Revision),
        scope: RecordScope<'_>,
    ) -> Option<BTreeMap<String, Arc<ViewRecord>>> {
        if epoch != self.head.epoch || revision > self.head.revision || revision < self.oldest() {
            return None;
        }
        let mut records = BTreeMap::new();
        let mut take = |record: &Arc<ViewRecord>| {
            records.insert(record.record.id.key.clone(), record.clone());
        };
        if let Some(all) = self.kinds.get(kind) {
            match scope {
                RecordScope::Keys { after, until } => all.between(after, until).for_each(&mut take),
                RecordScope::Ranges(ranges) => {
                    ranges.iter().flat_map(|range| all.within(*range)).for_each(&mut take);
                }
            }
        }
        // As they were before the oldest change since.
        for entry in self.recent.iter().rev().take_while(|entry| entry.revision > revision) {
            for change in &entry.changes {
                let id = &change.after.record.id;
                if id.kind == *kind && scope.has(id) {
                    if self.is_signed(id) {
                        return None;
                    }
                    match &change.before {
                        Some(before) => records.insert(id.key.clone(), before.clone()),
                        None => records.remove(&id.key),
                    };
                }
            }
        }
        Some(records)
    }
}
