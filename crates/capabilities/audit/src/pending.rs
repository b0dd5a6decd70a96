//! The records of a node that wait for their seal, as they come in the log.

use omnirelay_registry::watch::WatchEvent;
use omnirelay_wire::pb::omnirelay::store::v1::AuditLeaf;
use tracing::error;

use super::backlog::OwnRecords;

/// Records that wait for their seal, in the order of their revisions.
#[derive(Debug, Default)]
pub(crate) struct UnsealedRecords {
    pub leaves: Vec<AuditLeaf>,
    /// How many of them belong to commits of which all records are here.
    pub whole: usize,
}

impl UnsealedRecords {
    /// Takes in an event of the log; what is sealed already is left out.
    pub(crate) fn take(&mut self, event: WatchEvent, through: u64, own: OwnRecords<'_>) {
        match event {
            WatchEvent::Added(step) => {
                // What was put back of a snapshot is of an earlier commit, and was sealed.
                let is_imported = step.record.record.revision < step.entry.revision;
                if step.record.record.revision.0 > through && !is_imported {
                    self.leaves.push(own.leaf(&step.record.record));
                }
                // Inside a commit there is more to come.
                if step.cursor.part == 0 {
                    self.settle();
                }
            }
            WatchEvent::Modified(step) => {
                let record = &step.record.record.id.key;
                error!(record, "an audit record was changed");
                if step.cursor.part == 0 {
                    self.settle();
                }
            }
            WatchEvent::Removed(step) => {
                if step.cursor.part == 0 {
                    self.settle();
                }
            }
            WatchEvent::Snapshot(_)
            | WatchEvent::Synced { .. }
            | WatchEvent::Reset(_)
            | WatchEvent::Progress { .. } => {}
        }
    }

    /// All records of the commits that are here are here, in the order that seals have.
    fn settle(&mut self) {
        self.leaves[self.whole..].sort_by(|a, b| (a.revision, &a.key).cmp(&(b.revision, &b.key)));
        self.whole = self.leaves.len();
    }
}
