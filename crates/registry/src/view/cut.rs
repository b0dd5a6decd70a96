//! A cut: records of several kinds as they are at one moment.

use omnirelay_core::time::Millis;
use omnirelay_store::{Record, RecordKind};

use super::{View, read};
use crate::cursor::Cursor;

/// Cut of the registry: what a view holds of some kinds at one moment.
pub struct RegistryCut {
    pub cursor: Cursor,
    /// Store time.
    pub at: Millis,
    /// As the store has them, signatures included; by kind, in the order that was asked for, and then by key.
    pub records: Vec<Record>,
    /// How many are left out: those whose life is that of a group.
    pub bound: usize,
}

impl View {
    /// The records of these kinds, but for those of groups.
    pub fn cut(&self, kinds: &[RecordKind]) -> RegistryCut {
        let state = read(&self.state);
        let mut cut = RegistryCut {
            cursor: state.head.cursor(),
            at: self.judged_at(&state),
            records: Vec::new(),
            bound: 0,
        };
        let lists = kinds.iter().map(|kind| state.shared_list(kind).records).collect::<Vec<_>>();
        for record in lists.iter().flat_map(|list| list.iter()).map(|record| &record.record) {
            if record.group.is_some() {
                cut.bound += 1;
                continue;
            }
            let value = state.signed.as_signed(&record.id).unwrap_or(&record.value).clone();
            cut.records.push(Record { value, ..record.clone() });
        }
        cut
    }
}
