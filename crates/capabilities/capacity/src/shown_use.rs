//! Use as the view shows it, of what records are counted.

use omnirelay_decisions::capacity::LimitKind;
use omnirelay_registry::view::{DerivedRecords, View};

use crate::growth::CountedRecords;

/// Reader of the use that a view shows.
pub(crate) struct ShownUse {
    pub counted: CountedRecords,
    /// Of all namespaces.
    shards: DerivedRecords<u64>,
}

impl ShownUse {
    pub(crate) fn new(counted: CountedRecords) -> Self {
        Self { counted, shards: DerivedRecords::default() }
    }

    /// Use of a limit as the view shows it; `None`: records do not show it.
    pub(crate) fn of(&self, view: &View, kind: LimitKind) -> Option<u64> {
        let CountedRecords { peers, namespaces, shards_of, .. } = &self.counted;
        match kind {
            LimitKind::Peers => Some(view.held_count(peers) as u64),
            LimitKind::Shards => {
                let sum = self
                    .shards
                    .of(view, namespaces, |records| records.iter().map(|record| shards_of(record)).sum());
                Some(*sum)
            }
            LimitKind::Records => Some(view.totals().records),
            LimitKind::Bytes => Some(view.totals().bytes),
            LimitKind::Joins
            | LimitKind::Commits
            | LimitKind::Calls
            | LimitKind::Watchers
            | LimitKind::GossipFanout
            | LimitKind::GossipMessages => None,
        }
    }
}
