//! Records that were compared, and what was found.

use omnirelay_store::RecordKind;

use super::pb;
use pb::state_difference::State;

/// Records that a comparison has looked at so far, and those that differ.
#[derive(Debug, Default)]
pub(crate) struct ComparedRecords {
    /// How many differences are listed at most.
    pub limit: usize,
    pub records: u64,
    pub differing: u64,
    pub differences: Vec<pb::StateDifference>,
    pub unsettled: u64,
    pub questions: u32,
    /// Kinds of which the other side holds no records.
    pub not_compared: Vec<String>,
}

impl ComparedRecords {
    pub(crate) fn listing(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Notes a record that differs.
    pub(crate) fn note(
        &mut self,
        kind: &RecordKind,
        key: &str,
        here: Option<pb::StateRecord>,
        there: Option<pb::StateRecord>,
    ) {
        self.differing += 1;
        if self.differences.len() >= self.limit {
            return;
        }
        let state = match (&here, &there) {
            (Some(_), None) => State::OnlyHere,
            (None, Some(_)) => State::OnlyThere,
            (Some(_), Some(_)) | (None, None) => State::Differs,
        };
        self.differences.push(pb::StateDifference {
            kind: kind.0.to_string(),
            key: key.to_owned(),
            state: state.into(),
            here,
            there,
        });
    }
}
