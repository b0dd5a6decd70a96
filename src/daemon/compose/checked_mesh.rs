//! The mesh as the check reads it of other capabilities.

use std::sync::Arc;

use async_trait::async_trait;
use omnirelay_registry::Registry;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use crate::gossip::Gossip;
use crate::objects::check::CheckedMesh;
use crate::objects::leaders::all_scopes;
use crate::objects::node::Node;
use crate::objects::peers::Peers;
use crate::objects::shards::namespaces::all_namespaces;

/// What is known of the mesh by its capabilities.
pub struct MeshReads {
    pub registry: Arc<Registry>,
    /// What this node says of itself.
    pub own: Node,
    pub peers: Peers,
    pub gossip: Option<Arc<Gossip>>,
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
