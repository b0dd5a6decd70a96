//! The records of a node that are not sealed yet, as they are found in the store.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow::{Break, Continue};

use omnirelay_decisions::audit_seal::mac::MacKey;
use omnirelay_decisions::audit_seal::{ChainId, leaf, open};
use omnirelay_registry::Registry;
use omnirelay_registry::audit_record::{made_at, oldest_key};
use omnirelay_store::{Record, Store, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::AuditLeaf;
use prost::Message;
use tracing::{error, warn};

use super::AUDIT_SEAL;
use crate::trail_records::{records_page, stored};

/// The most records that are taken at once; the oldest come first.
const RECORDS_MAX: usize = 8192;
/// How many records are read at a time.
const PAGE: usize = 1024;
/// How many seals are read at a time.
const SEALS_PAGE: usize = 16;
/// How much older than one before it in the log a record may be by its key, in milliseconds: it was so long
/// on its way to the store, or the clock of the store was off. Further back nothing is looked for.
const SLACK_MS: u64 = 24 * 3600 * 1000;

/// Backlog of records that wait for a seal.
#[derive(Debug, Default)]
pub(crate) struct SealBacklog {
    /// In the order of their revisions.
    pub leaves: Vec<AuditLeaf>,
    /// False: there is more behind these.
    pub complete: bool,
}

/// Marks by which a node knows its own audit records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnRecords<'a> {
    pub node_id: &'a str,
    pub mac: &'a MacKey,
    /// The revision up to which records may be of a key that this node had before it was set up anew; 0: they are all sealed, or
    /// it never was.
    pub anew_at: u64,
}

impl OwnRecords<'_> {
    /// The leaf of a record that claims to be of this node; one that the node did not write is marked.
    pub(crate) fn leaf(&self, record: &Record) -> AuditLeaf {
        let stored = stored(record);
        let is_made = self.mac.made(&stored);
        let of_before = !is_made && stored.revision <= self.anew_at;
        let foreign = !is_made && !of_before;
        if of_before {
            warn!(record = stored.key, "an audit record was left unsealed before this node was set up anew");
        }
        if foreign {
            error!(record = stored.key, "an audit record claims to be of this node, which did not write it");
        }
        AuditLeaf { foreign, of_before, ..leaf(&stored) }
    }
}

impl SealBacklog {
    /// Reads the records of a node behind the revision `through` and up to `until`, from the newest back to
    /// those that were old when the newest sealed one was made, at `since_ms`.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn read(
        store: &dyn Store,
        own: OwnRecords<'_>,
        through: u64,
        until: u64,
        since_ms: u64,
    ) -> Result<Self, StoreError> {
        let oldest = oldest_key(since_ms.saturating_sub(SLACK_MS));
        let mut found: BTreeMap<(u64, String), AuditLeaf> = BTreeMap::new();
        // The first revision of which something was left out.
        let mut left_out = u64::MAX;
        let mut after = None;
        loop {
            let page = records_page(store, after, true, PAGE).await?;
            after = page.records.last().map(|record| record.id.key.clone());
            let wanted = page.records.iter().filter(|record| {
                let revision = record.revision.0;
                !record.deleted && revision > through && revision <= until && is_of(record, own.node_id)
            });
            for record in wanted {
                found.insert((record.revision.0, record.id.key.clone()), own.leaf(record));
                if found.len() > RECORDS_MAX
                    && let Some(((revision, _), _)) = found.pop_last()
                {
                    left_out = left_out.min(revision);
                }
            }
            let passed = after.as_ref().is_none_or(|after| *after < oldest);
            if !page.more || passed {
                break;
            }
        }
        // The records of one revision are sealed together or not at all.
        let leaves = found.into_iter().filter(|((revision, _), _)| *revision < left_out);
        let leaves: Vec<AuditLeaf> = leaves.map(|(_, leaf)| leaf).collect();
        Ok(Self { leaves, complete: left_out == u64::MAX })
    }
}

/// Those that no seal of the chain names: what was put back of a snapshot has come with its seals.
///
/// # Errors
/// Those of the store.
pub(crate) async fn without_sealed(
    registry: &Registry,
    chain: &ChainId,
    mut leaves: Vec<AuditLeaf>,
) -> Result<Vec<AuditLeaf>, StoreError> {
    let Some(oldest) = leaves.iter().map(|leaf| made_at(&leaf.key)).min() else { return Ok(leaves) };
    let prefix = chain.prefix();
    let behind = chain.key(u64::MAX);
    let mut sealed = HashSet::new();
    let each = |seal: Record| {
        let leaves = open(&seal.value).map(|opened| opened.seal.leaves).unwrap_or_default();
        let newest = leaves.iter().map(|leaf| made_at(&leaf.key)).max();
        sealed.extend(leaves.into_iter().map(|leaf| leaf.key));
        match newest {
            Some(newest) if newest.saturating_add(SLACK_MS) < oldest => Break(()),
            Some(_) | None => Continue(()),
        }
    };
    registry.each_before(&AUDIT_SEAL, &prefix, (&behind, SEALS_PAGE), each).await?;
    leaves.retain(|leaf| !sealed.contains(&leaf.key));
    Ok(leaves)
}

/// Whether a record says that it was made on this node.
pub(crate) fn is_of(record: &Record, node_id: &str) -> bool {
    RecordMaker::decode(&*record.value).is_ok_and(|maker| maker.node_id == node_id)
}

/// Maker of an audit record: the part of its `AuditValue` that names it.
#[derive(Clone, PartialEq, prost::Message)]
struct RecordMaker {
    #[prost(string, tag = "5")]
    node_id: String,
}
