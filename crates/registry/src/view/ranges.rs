//! Ranges of a view: what of its records is the same elsewhere, and what they were at a revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_core::ranges::{
    ClaimError, Digest, RangeAnswer, RangeClaim, RangeComparison, RangeIndex, RangePrefix, answer,
};
use omnirelay_store::{Record, RecordId, RecordKind, Revision};

use super::records::{ByKey, OrderedRecords};
use super::{View, ViewRecord, read, write};

/// Hash of a record's key, by which it has its place among ranges.
pub(super) fn place_of(id: &RecordId) -> u64 {
    Digest::of([id.kind.0.as_bytes(), id.key.as_bytes()]).first()
}

/// Digest of all that the store keeps of a record.
pub fn digest_of(record: &Record) -> Digest {
    let (group, instance) = match &record.group {
        Some(group) => (group.id.0.as_bytes(), group.instance),
        None => (&[][..], 0),
    };
    let numbers = [record.version.0, record.revision.0, record.created_at.0, record.updated_at.0, instance];
    let mut words = [0; 40];
    for (word, number) in words.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *word = number.to_le_bytes();
    }
    Digest::of([
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
    /// Answers claims about the records of a kind; there are none of a kind that is not mirrored.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn answer_claims(
        &self,
        kind: &RecordKind,
        key: &[u8],
        claims: &[RangeClaim],
    ) -> Result<Vec<RangeAnswer>, ClaimError> {
        self.with_index(kind, |index| answer(index, key, claims))
    }

    /// Begins a comparison of all records of a kind.
    pub fn begin_comparison(&self, kind: &RecordKind, key: &[u8]) -> RangeComparison {
        self.with_index(kind, |index| RangeComparison::of_all(index, key))
    }

    /// Takes answers into a comparison.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn take_in_answers(
        &self,
        kind: &RecordKind,
        comparison: &mut RangeComparison,
        answers: Vec<RangeAnswer>,
    ) -> Result<(), ClaimError> {
        self.with_index(kind, |index| comparison.take_in(index, answers))
    }

    /// Some records of a kind as they were at a revision, as the store has them: over or not, signatures included. `None`: the view
    /// is behind it, or does not reach back.
    pub fn records_at(
        &self,
        kind: &RecordKind,
        revision: Revision,
        scope: RecordScope<'_>,
    ) -> Option<BTreeMap<String, Record>> {
        let state = read(&self.state);
        if revision > state.head.revision || revision < state.oldest() {
            return None;
        }
        let mut records = BTreeMap::new();
        let mut take = |record: &Arc<ViewRecord>| {
            records.insert(record.record.id.key.clone(), record.clone());
        };
        if let Some(all) = state.kinds.get(kind) {
            match scope {
                RecordScope::Keys { after, until } => all.between(after, until).for_each(&mut take),
                RecordScope::Ranges(ranges) => {
                    ranges.iter().flat_map(|range| all.within(*range)).for_each(&mut take);
                }
            }
        }
        // As they were before the oldest change since.
        for entry in state.recent.iter().rev().take_while(|entry| entry.revision > revision) {
            for change in &entry.changes {
                let id = &change.after.record.id;
                if id.kind == *kind && scope.has(id) {
                    if state.is_signed(id) {
                        // How it was signed then is not kept.
                        return None;
                    }
                    match &change.before {
                        Some(before) => records.insert(id.key.clone(), before.clone()),
                        None => records.remove(&id.key),
                    };
                }
            }
        }
        let as_stored = |(key, record): (String, Arc<ViewRecord>)| {
            let record = record.record.clone();
            let signed = state.signed.as_signed(&record.id).cloned();
            (key, Record { value: signed.unwrap_or(record.value), ..record })
        };
        Some(records.into_iter().map(as_stored).collect())
    }

    /// Whether this view takes a signed record for what it is judged to be as the store has it: what counts, the note that it was
    /// deleted, or nothing, because nobody has signed it who may.
    pub fn judged_as_stored(&self, record: &Record) -> bool {
        let state = read(&self.state);
        state.is_signed(&record.id) && state.signed.has_judged(record)
    }

    fn with_index<T>(&self, kind: &RecordKind, look: impl FnOnce(&RangeIndex<ByKey>) -> T) -> T {
        let state = read(&self.state);
        match state.kinds.get(kind).and_then(OrderedRecords::index) {
            Some(index) => look(index),
            None => look(&RangeIndex::default()),
        }
    }

    /// Has what was told of this view before the next load taken as void: that mends what differs from the store.
    pub(crate) fn mend_by_next_load(&self) {
        write(&self.state).is_mended_by_load = true;
    }
}
