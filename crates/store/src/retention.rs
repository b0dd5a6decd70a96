//! Retention: what a store keeps of what is over, and what a step of its housekeeping has done.

use std::time::Duration;

/// Retention of the log and of what is over: how much to keep. Everything older, or beyond the count, may go.
///
/// There is one log with one window for all kinds: an entry holds changes of several, and a reader
/// resumes by the chain of revisions, which has no gap. A kind that is written often shortens the
/// history of all others.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Of log entries, whatever kinds they change.
    pub log_age: Duration,
    /// Of the whole log, not of each kind.
    pub log_entries_max: usize,
    /// Of tombstones, and of groups that are over.
    pub tombstone_age: Duration,
    pub idempotency_age: Duration,
    pub idempotency_entries_max: usize,
}

/// Outcome of one housekeeping step. Call again at once while `more`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HousekeepingOutcome {
    pub records_expired: usize,
    pub log_entries_trimmed: usize,
    pub tombstones_collected: usize,
    pub answers_forgotten: usize,
    pub more: bool,
}

impl HousekeepingOutcome {
    /// Adds what another step has done.
    pub(crate) fn add(&mut self, other: Self) {
        self.records_expired += other.records_expired;
        self.log_entries_trimmed += other.log_entries_trimmed;
        self.tombstones_collected += other.tombstones_collected;
        self.answers_forgotten += other.answers_forgotten;
        self.more |= other.more;
    }
}
