//! Mounts operations: what takes longer than a call.

use std::sync::Arc;

use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{NodeBuilder, PortName};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::operation_service_server::OperationServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::OperationCalls;

/// Mounts operations; other nodes are asked by `transport` for theirs.
pub fn mount(node: &mut NodeBuilder, transport: Arc<NodeTransport>) {
    let watches_max = node.watches_max();
    let operations = OperationCalls::new(node.registry.clone(), node.operations.clone(), watches_max);
    let operations = operations.asking(transport);
    let operations = OperationServiceServer::new(operations).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, operations);
}
