//! Mounts role bindings: has callers judged by them, enters those of the configuration, and serves them.

use std::sync::Arc;

use omnirelay_node::{CapabilityKinds, NodeBuilder, PortName, StopPhase};
use omnirelay_registry::epoch_loss::{RestoredBy, RestoredKind};
use omnirelay_registry::view::View;
use omnirelay_store::RecordKind;
use omnirelay_wire::pb::omnirelay::security::v1::binding_service_server::BindingServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::bindings::seed::{BINDING_SEED, ConfiguredSeeds};
use crate::bindings::{BINDING, Bindings, granted};

const BINDINGS: &[RecordKind] = &[BINDING, BINDING_SEED];

/// Where they are signed they stay known, whatever the store has.
const RESTORED: &[RestoredKind] =
    &[RestoredKind::of(BINDING_SEED, RestoredBy::Furthest), RestoredKind::of(BINDING, RestoredBy::Furthest)];

pub const KINDS: CapabilityKinds =
    CapabilityKinds { mirrored: BINDINGS, signed: BINDINGS, restored: RESTORED, ..CapabilityKinds::NONE };

pub fn mount(node: &mut NodeBuilder) {
    let (registry, trust) = (node.registry.clone(), node.trust.clone());
    let bindings = Bindings::new(registry.clone(), trust.clone(), node.config.control.watches_max);
    // What could not be was refused with the configuration.
    let seeds = node.config.security.bindings.iter().filter_map(|binding| binding.seed().ok()).collect();
    let door = node.grants.door.clone();
    let seeds = Arc::new(ConfiguredSeeds { registry: registry.clone(), trust, door, seeds });
    let local = seeds.clone();
    let (view, grants, changed) = (registry.clone(), node.grants.clone(), registry);
    grants.ask(move |principal| granted(view.view(), principal).union(local.granted(principal)));
    // What is under way with a binding that was taken away ends.
    node.run(StopPhase::End, async move {
        let sense = |view: &View| view.changed(&BINDING);
        let look = || {
            grants.tell();
            async { None }
        };
        changed.react(sense, look).await;
    });
    if !seeds.seeds.is_empty() {
        node.run(StopPhase::End, seeds.run());
    }
    let bindings = BindingServiceServer::new(bindings).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, bindings);
}
