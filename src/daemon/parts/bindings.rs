//! The part of role bindings: has callers judged by them, and serves them.

use omnirelay_wire::pb::omnirelay::security::v1::binding_service_server::BindingServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::daemon::node::{Kinds, Mount, NodeError, Part, PortName};
use crate::daemon::objects::bindings::{BINDING, Bindings, granted};

pub const PART: Part = Part { kinds: Kinds { mirrored: &[BINDING], ..Kinds::NONE }, mount };

fn mount(node: &mut Mount) -> Result<(), NodeError> {
    let registry = node.registry.clone();
    let bindings = Bindings::new(registry.clone(), node.config.control.watches_max);
    node.grants.ask(move |principal| granted(registry.view(), principal));
    let bindings = BindingServiceServer::new(bindings).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, bindings);
    Ok(())
}
