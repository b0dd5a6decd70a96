//! Rows that one attempt of a step has read, and the ranges of which it knows all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use omnirelay_core::time::Millis;

use super::medium::{KeyRange, MediumReading, RangeQuery, RangeRows, RowVersion, behind};

/// Rows as an attempt has read them. No range lies within another one.
#[derive(Default)]
pub(super) struct LoadedRows {
    rows: BTreeMap<Vec<u8>, Bytes>,
    /// By where they begin: where they end, and when they were read.
    ranges: BTreeMap<Vec<u8>, (Vec<u8>, RowVersion)>,
    /// The medium's time at the last reading.
    pub now: Millis,
    /// When the first rows were read.
    pub first: Option<RowVersion>,
}

impl LoadedRows {
    /// Adds the answers of these queries.
    pub(super) fn take(&mut self, queries: &[RangeQuery], reading: MediumReading) {
        let MediumReading { now, version, answers } = reading;
        self.now = self.now.max(now);
        self.first.get_or_insert(version);
        for (query, rows) in queries.iter().zip(answers) {
            self.take_range(query, rows, version);
        }
    }

    fn take_range(&mut self, query: &RangeQuery, answer: RangeRows, version: RowVersion) {
        let mut range = query.range.clone();
        if let Some((last, _)) = answer.rows.last().filter(|_| answer.more) {
            if query.backwards { range.from.clone_from(last) } else { range.to = behind(last) }
        }
        // Asked for together with one that has all of it.
        if self.known_from(&range).is_some_and(|known| known.to == range.to) {
            return;
        }
        self.ranges.retain(|from, (to, _)| *from < range.from || *to > range.to);
        let old: Vec<Vec<u8>> = self.rows_in(&range).map(|(key, _)| key.to_vec()).collect();
        for key in old {
            self.rows.remove(&key);
        }
        self.rows.extend(answer.rows);
        self.ranges.insert(range.from, (range.to, version));
    }

    /// The first part of `range` of which all is known, or the last one; `None`: that must be read.
    pub(super) fn known_part(&self, range: &KeyRange, backwards: bool) -> Option<KeyRange> {
        if backwards { self.known_to(range) } else { self.known_from(range) }
    }

    fn known_from(&self, range: &KeyRange) -> Option<KeyRange> {
        let before = (Bound::Unbounded, Bound::Included(range.from.as_slice()));
        let (_, (to, _)) = self.ranges.range::<[u8], _>(before).next_back()?;
        let to = to.min(&range.to).clone();
        (to > range.from).then(|| KeyRange { from: range.from.clone(), to })
    }

    fn known_to(&self, range: &KeyRange) -> Option<KeyRange> {
        let before = (Bound::Unbounded, Bound::Excluded(range.to.as_slice()));
        let (from, (to, _)) = self.ranges.range::<[u8], _>(before).next_back()?;
        (*to >= range.to).then(|| KeyRange { from: from.max(&range.from).clone(), to: range.to.clone() })
    }

    /// The rows of a part that is known.
    pub(super) fn rows_in(&self, range: &KeyRange) -> impl Iterator<Item = (&[u8], &Bytes)> {
        let bounds = (Bound::Included(range.from.as_slice()), Bound::Excluded(range.to.as_slice()));
        self.rows.range::<[u8], _>(bounds).map(|(key, row)| (key.as_slice(), row))
    }

    /// A row that was read; `None`: there is none, or it was not read.
    pub(super) fn row(&self, key: &[u8]) -> Option<&Bytes> {
        self.rows.get(key)
    }

    /// Begin of the range that a known part is of.
    pub(super) fn begin_of(&self, part: &KeyRange) -> Option<&[u8]> {
        let before = (Bound::Unbounded, Bound::Included(part.from.as_slice()));
        self.ranges.range::<[u8], _>(before).next_back().map(|(from, _)| from.as_slice())
    }

    /// Conditions on which those ranges are as they were read that begin at one of `used`.
    pub(super) fn conditions(&self, used: &BTreeSet<Vec<u8>>) -> Vec<(KeyRange, RowVersion)> {
        let rests_on = self.ranges.iter().filter(|(from, _)| used.contains(from.as_slice()));
        let condition = |from: &[u8], to: &[u8]| KeyRange { from: from.to_vec(), to: to.to_vec() };
        rests_on.map(|(from, (to, version))| (condition(from, to), *version)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: &str, to: &str) -> KeyRange {
        KeyRange { from: from.into(), to: to.into() }
    }

    /// Takes the rows of a range, which ends early if `more`.
    fn take(loaded: &mut LoadedRows, query: &RangeQuery, version: u64, keys: &[&str], more: bool) {
        let rows = keys.iter().map(|key| (key.as_bytes().to_vec(), Bytes::new())).collect();
        let answers = vec![RangeRows { rows, more }];
        let reading = MediumReading { now: Millis(version), version: RowVersion(version), answers };
        loaded.take(std::slice::from_ref(query), reading);
    }

    /// The conditions of a run that has used every range.
    fn conditions(loaded: &LoadedRows) -> Vec<(KeyRange, RowVersion)> {
        loaded.conditions(&loaded.ranges.keys().cloned().collect())
    }

    #[test]
    fn a_write_rests_on_what_its_run_has_used_alone() {
        let mut loaded = LoadedRows::default();
        for key in ["a", "b"] {
            take(&mut loaded, &RangeQuery::of_key(key.as_bytes()), 1, &[key], false);
        }
        let used = loaded.begin_of(&range("b", "b\0")).map(<[u8]>::to_vec);
        assert_eq!(loaded.conditions(&used.into_iter().collect()), [(range("b", "b\0"), RowVersion(1))]);
    }

    #[test]
    fn a_range_is_known_as_far_as_it_was_read() {
        for (backwards, known, unknown) in
            [(false, ("a", "c\0"), ("c\0", "z")), (true, ("c", "z"), ("a", "c"))]
        {
            let mut loaded = LoadedRows::default();
            let query = RangeQuery { range: range("a", "z"), backwards, rows_max: 2 };
            take(&mut loaded, &query, 1, if backwards { &["d", "c"] } else { &["b", "c"] }, true);
            assert_eq!(loaded.known_part(&query.range, backwards), Some(range(known.0, known.1)));
            assert_eq!(loaded.known_part(&range(unknown.0, unknown.1), backwards), None);
            let rest = RangeQuery { range: range(unknown.0, unknown.1), ..query };
            take(&mut loaded, &rest, 2, &[], false);
            assert_eq!(loaded.known_part(&rest.range, backwards), Some(rest.range));
            assert_eq!(conditions(&loaded).len(), 2);
        }
    }

    #[test]
    fn what_a_later_reading_does_not_have_is_gone() {
        let mut loaded = LoadedRows::default();
        take(&mut loaded, &RangeQuery::of_key(b"m"), 1, &["m"], false);
        let all = RangeQuery { range: range("a", "z"), backwards: false, rows_max: 9 };
        take(&mut loaded, &all, 2, &["b"], false);
        assert_eq!((loaded.row(b"m"), loaded.row(b"b").is_some()), (None, true));
        assert_eq!(conditions(&loaded), [(range("a", "z"), RowVersion(2))]);
        assert_eq!((loaded.now, loaded.first), (Millis(2), Some(RowVersion(1))));
        // Of the same moment, and in it.
        take(&mut loaded, &RangeQuery::of_key(b"b"), 2, &["b"], false);
        assert_eq!(conditions(&loaded).len(), 1);
    }
}
