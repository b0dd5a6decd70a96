//! Settings of the history that the store keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section, count, within};
use super::{Config, HumanDuration};

/// Settings of the history that the store keeps: how much of it, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// How long a change stays in the log. Too low: watches that were away begin anew.
    pub age: HumanDuration,
    /// 1000 to 10000000 changes.
    pub entries_max: usize,
    /// How long a deleted record leaves a trace.
    pub tombstone_age: HumanDuration,
    /// How long an answer is kept for a repeated idempotency key.
    pub idempotency_age: HumanDuration,
    /// 1000 to 10000000 answers.
    pub idempotency_entries_max: usize,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        let day = HumanDuration(Duration::from_secs(24 * 3600));
        Self {
            age: day,
            entries_max: 100_000,
            tombstone_age: day,
            idempotency_age: day,
            idempotency_entries_max: 100_000,
        }
    }
}

impl Section for HistoryConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
        within("history.age", self.age, second, day * 365)?;
        within("history.tombstoneAge", self.tombstone_age, second, day * 365)?;
        within("history.idempotencyAge", self.idempotency_age, second, day * 30)?;
        count("history.entriesMax", self.entries_max, 1000, 10_000_000)?;
        count("history.idempotencyEntriesMax", self.idempotency_entries_max, 1000, 10_000_000)
    }
}
