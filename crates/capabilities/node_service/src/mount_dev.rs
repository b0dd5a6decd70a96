//! Mounts faults on demand, which the process serves.

use std::sync::Arc;

use omnirelay_node::{NodeBuilder, PortName};
use omnirelay_wire::pb::omnirelay::dev::v1::dev_service_server::DevServiceServer;

use crate::dev::{DevCalls, DevProcess};

/// Serves the faults of `process`.
pub fn mount(node: &mut NodeBuilder, process: Arc<dyn DevProcess>) {
    let registry = node.registry.clone();
    node.serve(PortName::Control, DevServiceServer::new(DevCalls { process, registry }));
}
