//! The part that judges the mesh.

use omnirelay_wire::pb::omnirelay::mesh::control::v1::check_service_server::CheckServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use super::node::describer;
use crate::daemon::node::{Kinds, Mount, NodeError, Part, PortName};
use crate::daemon::objects::check::asking::NodeAsker;
use crate::daemon::objects::check::{MeshCheckService, MeshChecker};
use crate::daemon::objects::peers::Peers;

pub const PART: Part = Part { kinds: Kinds::NONE, mount };

fn mount(node: &mut Mount) -> Result<(), NodeError> {
    // It shows them and serves no watch.
    let peers = Peers::new(node.registry.clone(), 0).calling(node.transport.clone());
    let checker = MeshChecker {
        registry: node.registry.clone(),
        own: describer(node),
        peers: peers.hearing(node.gossip.clone()),
        gossip: node.gossip.clone(),
        asker: NodeAsker { transport: node.transport.clone(), trust: node.trust.clone() },
    };
    let check =
        CheckServiceServer::new(MeshCheckService::new(checker)).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, check);
    Ok(())
}
