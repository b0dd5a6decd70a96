//! The mesh as the check and the state diff read it of other capabilities.

use std::sync::Arc;

use async_trait::async_trait;
use omnirelay_check::CheckedMesh;
use omnirelay_gossip::Gossip;
use omnirelay_leadership_records::all_scopes;
use omnirelay_node_service::node::NodeCalls;
use omnirelay_peers::Peers;
use omnirelay_registers::resync::Resync;
use omnirelay_registry::Registry;
use omnirelay_shards::namespaces::all_namespaces;
use omnirelay_state_diff::ComparedNodes;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisementSyncState;

/// Sources from which the capabilities know of the mesh.
pub(super) struct MeshReads {
    pub registry: Arc<Registry>,
    /// What this node says of itself.
    pub own: Arc<NodeCalls>,
    pub peers: Arc<Peers>,
    pub gossip: Option<Arc<Gossip>>,
    pub resync: Arc<Resync>,
}

#[async_trait]
impl CheckedMesh for MeshReads {
    fn own(&self) -> pb::GetNodeResponse {
        self.own.describe()
    }

    async fn peers(&self) -> Vec<pb::Peer> {
        self.peers.all().await
    }

    async fn peer(&self, node_id: &str) -> Result<pb::Peer, Fault> {
        self.peers.one(node_id).await
    }

    fn scopes(&self) -> Vec<pb::Leadership> {
        all_scopes(self.registry.view())
    }

    async fn namespaces(&self) -> Vec<pb::Namespace> {
        all_namespaces(&self.registry, self.gossip.as_deref()).await
    }
}

#[async_trait]
impl ComparedNodes for MeshReads {
    async fn nodes(&self) -> Vec<pb::Peer> {
        self.peers.all().await
    }

    fn pools(&self) -> Vec<pb::AdvertisedPool> {
        let pool = |state: AdvertisementSyncState| pb::AdvertisedPool {
            status: state.status().as_str_name().to_owned(),
            target: state.target,
            drifted: state.drifted,
            last_success_at: state.last_success_at,
        };
        self.resync.shown().into_iter().map(pool).collect()
    }

    async fn node(&self, node_id: &str) -> Result<pb::Peer, Fault> {
        self.peers.one(node_id).await
    }
}
