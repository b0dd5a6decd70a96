//! Growth: what a commit adds to what limits count.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_decisions::capacity::{LimitKind, lets_in_hosts};
use omnirelay_registry::commit_judge::JudgedCommit;
use omnirelay_registry::view::{View, ViewRecord, record_bytes};
use omnirelay_store::{RecordId, RecordKind, Version};

use crate::added_use::{AddedUse, ShownBy};

/// How long a commit of which nothing is heard any more may still be made: longer than any store is waited for.
const MADE_WITHIN: Duration = Duration::from_secs(30);
/// How long a host that was let in may take until it is registered as a peer.
const ENTERS_WITHIN: Duration = Duration::from_secs(300);

/// Finds the record of the peer that a host becomes.
type LetInPeer = Arc<dyn Fn(&RecordId) -> Option<RecordId> + Send + Sync>;

/// Records of other capabilities that limits count, and how.
#[derive(Clone)]
pub struct CountedRecords {
    /// Kind of the records of peers.
    pub peers: RecordKind,
    /// Record of the peer that a host becomes which a record of this id lets in; `None`: it lets in no host.
    pub let_in: LetInPeer,
    /// Kind of the records that stand for shards.
    pub namespaces: RecordKind,
    /// Number of shards that such a record stands for, by its value.
    pub shards_in: fn(&[u8]) -> u64,
    /// The same of a record of the view.
    pub shards_of: fn(&ViewRecord) -> u64,
}

impl CountedRecords {
    /// Hosts that a commit lets in and that are no peers yet, each counted as one until it is.
    pub(crate) fn hosts(&self, view: &View, commit: &JudgedCommit<'_>) -> Vec<AddedUse> {
        // Other acts write of hosts that are members already, whatever the view shows of them.
        if !lets_in_hosts(commit.action) {
            return Vec::new();
        }
        let let_in = commit.writes.iter().filter_map(|write| (self.let_in)(write.id()));
        let added = let_in.map(|record| {
            let (before, _) = view.held_version(&record);
            let (shown_by, kept_for) = (ShownBy::Entry, ENTERS_WITHIN);
            AddedUse { kind: LimitKind::Peers, record, before, amount: 1, shown_by, kept_for }
        });
        added.filter(|added| added.before == Version(0)).collect()
    }

    /// Additions of a commit to what records count.
    pub(crate) fn records(&self, view: &View, commit: &JudgedCommit<'_>) -> Vec<AddedUse> {
        let mut adds = Vec::new();
        for write in commit.writes {
            let (id, Some(value)) = (write.id(), write.value()) else { continue };
            if view.mirrored().contains(&id.kind) {
                self.note_record(view, (id, value), &mut adds);
            }
        }
        adds
    }

    fn note_record(&self, view: &View, (id, value): (&RecordId, &Bytes), adds: &mut Vec<AddedUse>) {
        let (before, bytes_before) = view.held_version(id);
        let is_new = u64::from(before == Version(0));
        let shards = match id.kind == self.namespaces {
            true => {
                let shown = view.get(id).map_or(0, |record| (self.shards_of)(&record));
                (self.shards_in)(value).saturating_sub(shown)
            }
            false => 0,
        };
        let amounts = [
            (LimitKind::Records, is_new),
            (LimitKind::Bytes, record_bytes(id, value).saturating_sub(bytes_before)),
            (LimitKind::Shards, shards),
            (LimitKind::Peers, if id.kind == self.peers { is_new } else { 0 }),
        ];
        let amounts = amounts.into_iter().filter(|(_, amount)| *amount > 0);
        adds.extend(amounts.map(|(kind, amount)| {
            let (record, shown_by) = (id.clone(), ShownBy::Commit);
            AddedUse { kind, record, before, amount, shown_by, kept_for: MADE_WITHIN }
        }));
    }
}
