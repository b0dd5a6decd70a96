//! Additions of commits to what limits count.

use std::time::Duration;

use omnirelay_decisions::capacity::LimitKind;
use omnirelay_store::{RecordId, Version};

/// Addition to the use of a limit, which is there once a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedUse {
    pub kind: LimitKind,
    /// The record that shows it.
    pub record: RecordId,
    /// Version of that record before; 0: it is not there.
    pub before: Version,
    pub amount: u64,
    pub shown_by: ShownBy,
    /// How long it is kept at most.
    pub kept_for: Duration,
}

/// Commit that writes the record which shows an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownBy {
    /// The one that adds it.
    Commit,
    /// A later one: that by which a host becomes a peer that was let in.
    Entry,
}
