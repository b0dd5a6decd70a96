//! Greeting of nodes at the mesh port: who they are, and which versions they speak.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_gossip::Gossip;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_node::transport::{CalledMesh, GreetingAnswer, NodeLocation, NodeTransport};
use omnirelay_nouns::serve;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::transport::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::reasons;
use pb::mesh_transport_service_client::MeshTransportServiceClient;
use pb::mesh_transport_service_server::MeshTransportService;

/// The versions of what nodes say to each other that this one speaks.
pub const VERSIONS: [u32; 2] = [1, 1];

/// The mesh as the registry and gossip have it. Gossip holds the transport, which holds this.
pub struct KnownMesh {
    pub registry: Arc<Registry>,
    pub trust: Arc<MeshTrust>,
    /// Nobody where the node does not gossip.
    pub gossip: Weak<Gossip>,
}

/// Serves `MeshTransportService`.
pub struct MeshTransport {
    pub own: KnownMesh,
    pub transport: Arc<NodeTransport>,
}

impl CalledMesh for KnownMesh {
    fn locate(&self, node: &str) -> Vec<NodeLocation> {
        let heard = self.gossip.upgrade();
        // What the node has written itself comes first; what is heard of it others may have made up.
        let written = self.written(node);
        let said = heard.as_ref().map(|heard| heard.located(node)).unwrap_or_default();
        // A seed may have moved since it was found.
        let is_known = written.is_some() || !said.is_empty();
        let learned = heard.filter(|_| !is_known).and_then(|heard| heard.learned(node));
        let mut all: Vec<_> = written.into_iter().chain(said).chain(learned).collect();
        let mut seen = BTreeSet::new();
        all.retain(|one| seen.insert(one.mesh.clone()));
        all
    }

    fn greet(&self, channel: MeshChannel) -> BoxFuture<'_, Result<GreetingAnswer, String>> {
        Box::pin(self.greeted(channel))
    }

    fn heard(&self, node: &str, datagram: Bytes) {
        if let Some(gossip) = self.gossip.upgrade() {
            gossip.receive(node, &datagram);
        }
    }
}

impl KnownMesh {
    /// Where the mesh port of a node is, if it says so.
    fn written(&self, node: &str) -> Option<NodeLocation> {
        let peer = self.registry.view().get(&peers::peer_id(node))?.value::<PeerValue>()?;
        let metadata = peer.metadata.as_ref()?;
        let mesh = metadata.endpoints.as_ref()?.mesh.clone()?;
        Some(NodeLocation { mesh, http3: metadata.http3_support })
    }

    /// Greets whoever is at the other end and speaks a version of this node.
    async fn greeted(&self, channel: MeshChannel) -> Result<GreetingAnswer, String> {
        let [version_min, version_max] = VERSIONS;
        let revocations_number = self.trust.current().revocations.number();
        let node_id = self.registry.node_id().to_owned();
        let hello = pb::HelloRequest { node_id, version_min, version_max, revocations_number };
        let answer = MeshTransportServiceClient::new(channel).hello(hello).await;
        let answer = answer.map_err(|status| Fault::from(&status).message)?.into_inner();
        agree(&answer.node_id, [answer.version_min, answer.version_max]).map_err(|fault| fault.message)?;
        let pb::HelloResponse { node_id, revocations_number, instance, .. } = answer;
        Ok(GreetingAnswer { node_id, revocations_number, instance })
    }
}

impl MeshTransport {
    async fn answer(&self, caller: &Caller, asked: pb::HelloRequest) -> Result<pb::HelloResponse, Fault> {
        let shown = caller.certificate.as_ref().map(|certificate| certificate.id.holder());
        let is_shown = |holder: &CertificateHolder| matches!(holder, CertificateHolder::Node { node, .. } if *node == asked.node_id);
        if !shown.is_some_and(is_shown) {
            let message =
                format!("the caller says that it is node `{}`, and shows another certificate", asked.node_id);
            return Err(Fault::new(reasons::INVALID_ARGUMENT, message));
        }
        agree(&asked.node_id, [asked.version_min, asked.version_max])?;
        self.transport.note_revocations(&asked.node_id, asked.revocations_number);
        let [version_min, version_max] = VERSIONS;
        Ok(pb::HelloResponse {
            node_id: self.own.registry.node_id().to_owned(),
            version_min,
            version_max,
            revocations_number: self.own.trust.current().revocations.number(),
            instance: self.own.gossip.upgrade().map_or(0, |gossip| gossip.instance()),
        })
    }
}

serve! {
    MeshTransportService for MeshTransport {
        hello(HelloRequest) -> HelloResponse: |of, caller, asked| of.answer(caller, asked);
    }
}

/// That a node which speaks these versions speaks one of ours.
fn agree(node: &str, [min, max]: [u32; 2]) -> Result<(), Fault> {
    let [own_min, own_max] = VERSIONS;
    if min <= own_max && max >= own_min {
        return Ok(());
    }
    let message = format!(
        "node `{node}` speaks versions {min} to {max} at the mesh port, and this one {own_min} to {own_max}"
    );
    Err(Fault::new(reasons::TRANSPORT_VERSION, message).hint("bring the older one up to date"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_go_on_where_there_is_a_version_that_both_speak() {
        for (versions, agree_on) in
            [([1, 1], true), ([1, 4], true), ([0, 1], true), ([2, 3], false), ([0, 0], false)]
        {
            let agreed = agree("b", versions);
            assert_eq!(agreed.is_ok(), agree_on, "{versions:?}");
            if let Err(fault) = agreed {
                let named = format!("{} to {}", versions[0], versions[1]);
                assert!(
                    fault.message.contains(&named) && fault.message.contains("1 to 1"),
                    "{}",
                    fault.message
                );
            }
        }
    }
}
