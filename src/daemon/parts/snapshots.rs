//! The part of snapshots: what they have of the registry, and who serves them.

use std::sync::Arc;

use omnirelay_nouns::feed::Places;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_store::Kind;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::snapshot_service_server::SnapshotServiceServer;

use crate::audit::AUDIT_SEAL;
use crate::node::{Kinds, Mount, NodeError, Part, PortName};
use crate::objects::advertisements::ADVERTISEMENT;
use crate::objects::certificates::{AUTHORITY, JOIN_TOKEN};
use crate::objects::shards::webhook::WEBHOOK;
use crate::objects::snapshots::{SnapshotKinds, Snapshots};

pub const PART: Part = Part { kinds: Kinds::NONE, mount };

/// How many snapshots are saved at once: each holds a list of all records.
const SAVED_AT_ONCE: usize = 4;

/// What its writer says again wherever it is, and what is of one epoch alone. A join token that was used up or revoked since would let
/// in again.
const LEFT_OUT: [Kind; 3] = [ADVERTISEMENT, WEBHOOK, JOIN_TOKEN];

fn mount(node: &mut Mount) -> Result<(), NodeError> {
    let snapshots = Snapshots {
        registry: node.registry.clone(),
        kinds: Arc::new(kinds(super::ALL)),
        mergers: node.mergers.clone(),
        cluster_id: node.config.node.cluster.clone(),
        places: Places::new(SAVED_AT_ONCE),
    };
    node.serve(PortName::Control, SnapshotServiceServer::new(snapshots));
    Ok(())
}

/// The kinds of these parts, as snapshots have them.
fn kinds(parts: &[Part]) -> SnapshotKinds {
    // By the authority it is judged whether others count.
    let mut held = vec![AUTHORITY];
    for part in parts {
        let (wholes, pieces): (Vec<_>, Vec<_>) =
            part.kinds.restored.iter().partition(|restored| restored.part_of.is_none());
        held.extend(pieces.into_iter().chain(wholes).map(|restored| restored.kind.clone()));
    }
    let mut seen = std::collections::BTreeSet::new();
    held.retain(|kind| !LEFT_OUT.contains(kind) && seen.insert(kind.clone()));
    let stored = parts.iter().flat_map(|part| part.kinds.stored.iter().chain(part.kinds.followed)).cloned();
    let others = stored.filter(|kind| *kind != AUDIT && *kind != AUDIT_SEAL).collect();
    SnapshotKinds { held, others, audit: AUDIT, seals: AUDIT_SEAL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_outlives_who_wrote_it_is_in_a_snapshot() {
        let SnapshotKinds { held, others, audit, seals } = kinds(super::super::ALL);
        let stored = [others, vec![audit, seals]].concat();
        for part in super::super::ALL {
            for kind in part.kinds.mirrored {
                let is_claimed = part.kinds.claimed.contains(kind);
                assert_eq!(held.contains(kind), !is_claimed && !LEFT_OUT.contains(kind), "{kind:?}");
            }
            for kind in part.kinds.followed.iter().chain(part.kinds.stored) {
                assert!(stored.contains(kind), "{kind:?}");
            }
        }
        let place = |kind: &str| held.iter().position(|held| &*held.0 == kind);
        assert_eq!(place("authority"), Some(0));
        assert!(place("shard") < place("namespace") && place("plan") < place("namespace"), "{held:?}");
    }
}
