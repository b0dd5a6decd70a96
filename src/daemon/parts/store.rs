//! The part that tells of the store.

use omnirelay_wire::pb::omnirelay::mesh::control::v1::store_service_server::StoreServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::daemon::node::{Kinds, Mount, NodeError, Part, PortName};
use crate::daemon::objects::store::StoreCalls;

pub const PART: Part = Part { kinds: Kinds::NONE, mount };

fn mount(node: &mut Mount) -> Result<(), NodeError> {
    let store = StoreCalls { registry: node.registry.clone() };
    let store = StoreServiceServer::new(store).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, store);
    Ok(())
}
