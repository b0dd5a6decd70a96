//! The part that serves faults on demand, where the process does.

use std::sync::Arc;

use omnirelay_wire::pb::omnirelay::dev::v1::dev_service_server::DevServiceServer;

use crate::node::{Mount, PortName};
use crate::objects::dev::{Dev, Process};

/// Serves the faults of `process`.
pub fn mount(node: &mut Mount, process: Arc<dyn Process>) {
    let registry = node.registry.clone();
    node.serve(PortName::Control, DevServiceServer::new(Dev { process, registry }));
}
