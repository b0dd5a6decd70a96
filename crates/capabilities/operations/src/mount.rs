//! Mounts operations: what takes longer than a call.

use omnirelay_node::{NodeBuilder, PortName};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::operation_service_server::OperationServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::OperationCalls;

pub fn mount(node: &mut NodeBuilder) {
    let watches_max = node.config.control.watches_max;
    let operations = OperationCalls::new(node.registry.clone(), node.operations.clone(), watches_max);
    let operations = operations.asking(node.transport.clone());
    let operations = OperationServiceServer::new(operations).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, operations);
}
