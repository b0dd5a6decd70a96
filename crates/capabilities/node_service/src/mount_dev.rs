//! Mounts faults on demand, which the process serves.

use std::sync::Arc;

use omnirelay_node::{Mount, PortName};
use omnirelay_wire::pb::omnirelay::dev::v1::dev_service_server::DevServiceServer;

use crate::dev::{Dev, Process};

/// Serves the faults of `process`.
pub fn mount(node: &mut Mount, process: Arc<dyn Process>) {
    let registry = node.registry.clone();
    node.serve(PortName::Control, DevServiceServer::new(Dev { process, registry }));
}
