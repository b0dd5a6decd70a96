//! Mounts observability.

use omnirelay_node::{NodeBuilder, PortName};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::observability_service_server::ObservabilityServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::service::Observability;

/// Mounts observability.
pub fn mount(node: &mut NodeBuilder) {
    let service = ObservabilityServiceServer::new(Observability(node.registry.clone()));
    node.serve(PortName::Control, service.send_compressed(Gzip).accept_compressed(Gzip));
}
