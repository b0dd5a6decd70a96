//! Mounts snapshots.

use std::sync::Arc;

use omnirelay_node::{NodeBuilder, PortName};
use omnirelay_nouns::feed::WatchPlaces;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::snapshot_service_server::SnapshotServiceServer;

use crate::{SnapshotRecordKinds, Snapshots};

/// How many snapshots are saved at once: each holds a list of all records.
const SAVED_AT_ONCE: usize = 4;

/// Mounts snapshots of these kinds.
pub fn mount(node: &mut NodeBuilder, kinds: SnapshotRecordKinds) {
    let snapshots = Snapshots {
        registry: node.registry.clone(),
        kinds: Arc::new(kinds),
        mergers: node.mergers.clone(),
        cluster_id: node.settings.now().node.cluster.clone(),
        places: WatchPlaces::new(SAVED_AT_ONCE),
    };
    node.serve(PortName::Control, SnapshotServiceServer::new(snapshots));
}
