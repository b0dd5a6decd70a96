//! The medium of an optimistic store: ordered rows of bytes, with a conditional transaction.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_core::time::Millis;

use crate::StoreError;

/// Place of a change among all changes of a medium: a later one has a greater place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowVersion(pub u64);

/// Range of keys: `from` inclusive, `to` exclusive, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
}

/// Request for the rows of a range, or for the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    pub range: KeyRange,
    /// True: from the last one on.
    pub backwards: bool,
    /// At least 1.
    pub rows_max: usize,
}

/// Rows of a range in the order that was asked for.
#[derive(Clone, Debug, Default)]
pub struct RangeRows {
    pub rows: Vec<(Vec<u8>, Bytes)>,
    /// True: there may be further ones behind these, of which there is at least one. A medium may end early where rows
    /// are large.
    pub more: bool,
}

/// Answers of several queries, all as of one moment.
#[derive(Clone, Debug)]
pub struct MediumReading {
    /// The medium's time at that moment.
    pub now: Millis,
    /// No change that is in the answers has a greater one, and every change that is not has.
    pub version: RowVersion,
    /// In the order of the queries.
    pub answers: Vec<RangeRows>,
}

/// Conditions of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// Nothing in these ranges was written, and nothing deleted, behind the version beside it.
    pub unchanged: Vec<(KeyRange, RowVersion)>,
    /// By the medium's time this instant has not come when the write is made.
    pub before: Option<Millis>,
}

/// Change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowWrite {
    pub key: Vec<u8>,
    /// `None` deletes it.
    pub row: Option<Bytes>,
}

/// A medium with a conditional transaction. Its time does not go back. What it has acknowledged it does not lose: a process
/// notices where it reads less than it has seen, and begins a new epoch. It does not notice where others, who have not seen what
/// is lost, have committed as much again before, nor where it has read before a loss and writes behind it.
#[async_trait]
pub trait ConditionalStore: Send + Sync + 'static {
    /// What an operator calls it, without secrets.
    fn name(&self) -> &str;

    /// Reads at one moment.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and others that say that nothing was changed.
    async fn read(&self, queries: &[RangeQuery]) -> Result<MediumReading, StoreError>;

    /// Makes all writes together and durably, if all conditions hold at that moment; without writes, says whether they do.
    /// False: one of them does not, and nothing was changed.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] where the writes may have been made; all others say that they were not.
    async fn write_if(&self, conditions: &WriteConditions, writes: &[RowWrite]) -> Result<bool, StoreError>;

    /// Waits up to `wait` for a change in `range` behind `since`. It may end early.
    ///
    /// # Errors
    /// As of a reading.
    async fn await_change(
        &self,
        range: &KeyRange,
        since: RowVersion,
        wait: Duration,
    ) -> Result<(), StoreError>;
}

impl KeyRange {
    /// The range of one key.
    pub fn of_key(key: &[u8]) -> Self {
        Self { from: key.to_vec(), to: behind(key) }
    }

    /// Whether no key can be in it.
    pub(super) fn is_empty(&self) -> bool {
        self.to <= self.from
    }
}

impl RangeQuery {
    /// Asks for one row.
    pub(super) fn of_key(key: &[u8]) -> Self {
        Self { range: KeyRange::of_key(key), backwards: false, rows_max: 1 }
    }
}

/// The least key behind `key`.
pub(super) fn behind(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}
