//! The part that serves faults on demand, where the process does.

use omnirelay_wire::pb::omnirelay::dev::v1::dev_service_server::DevServiceServer;

use crate::node::{Kinds, Mount, NodeError, Part, PortName};
use crate::objects::dev::Dev;

pub const PART: Part = Part { kinds: Kinds::NONE, mount };

fn mount(node: &mut Mount) -> Result<(), NodeError> {
    if let Some(process) = node.process.clone() {
        let registry = node.registry.clone();
        node.serve(PortName::Control, DevServiceServer::new(Dev { process, registry }));
    }
    Ok(())
}
