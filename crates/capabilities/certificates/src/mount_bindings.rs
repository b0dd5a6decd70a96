//! Mounts role bindings: has callers of the control port judged by them, enters those of the configuration, and serves them.

use std::sync::Arc;

use omnirelay_certificate_records::{AUTHORITY, JOIN_POLICY};
use omnirelay_host::live::LiveSource;
use omnirelay_identity::bound::GrantedRoles;
use omnirelay_identity::host_door::HostDoor;
use omnirelay_identity::proof::{BindingGrants, ProofAuthenticator};
use omnirelay_identity::without_proof::ChosenAuthenticator;
use omnirelay_node::{CapabilityKinds, NodeBuilder, PortName, StopPhase};
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_registry::view::View;
use omnirelay_settings::Config;
use omnirelay_store::{RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::security::v1::binding_service_server::BindingServiceServer;
use parking_lot::Mutex;
use tonic::codec::CompressionEncoding::Gzip;

use crate::bindings::seed::{BINDING_SEED, ConfiguredSeeds};
use crate::bindings::{BINDING, Bindings, granted};

const BINDINGS: &[RecordKind] = &[BINDING, BINDING_SEED];

/// Where they are signed they stay known, whatever the store has.
const RESTORED: &[RestorationRule] = &[
    RestorationRule::of(BINDING_SEED, RestoredBy::Furthest),
    RestorationRule::of(BINDING, RestoredBy::Furthest),
];

pub const KINDS: CapabilityKinds =
    CapabilityKinds { mirrored: BINDINGS, signed: BINDINGS, restored: RESTORED, ..CapabilityKinds::NONE };

/// Mounts role bindings, and gives what callers may do by them and by the door of this host.
pub fn mount(node: &mut NodeBuilder) -> Arc<BindingGrants> {
    let (registry, trust) = (node.registry.clone(), node.trust.clone());
    let bindings = Bindings::new(registry.clone(), trust.clone(), node.watches_max());
    let named = node.settings.live(seeds);
    let entered = LiveSource::new(named.get());
    let door = Arc::new(HostDoor::new(administers(node)));
    let seeds = entered.live(Vec::clone);
    let seeds = Arc::new(ConfiguredSeeds { registry: registry.clone(), trust, door: door.clone(), seeds });
    let local = seeds.clone();
    let (view, changed) = (registry.clone(), registry);
    let granted = move |principal: &str| granted(view.view(), principal).union(local.granted(principal));
    let grants = Arc::new(BindingGrants::new(door, granted));
    authenticate(node, &grants);
    let told = grants.clone();
    // What is under way with a binding that was taken away ends.
    node.run(StopPhase::End, async move {
        let sense = |view: &View| view.changed(&BINDING);
        let look = || {
            told.tell();
            async { None }
        };
        changed.react(sense, look).await;
    });
    node.run(StopPhase::End, seeds.driver().run());
    let told = grants.clone();
    node.run(
        StopPhase::End,
        named.each(move |seeds| {
            entered.replace(seeds);
            told.tell();
        }),
    );
    let bindings = BindingServiceServer::new(bindings).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, bindings);
    grants
}

/// Has callers of the control port prove who they are, and lets in without proof whom the configuration says.
fn authenticate(node: &mut NodeBuilder, grants: &Arc<BindingGrants>) {
    let (tokens, bearers) = (node.tokens.clone(), node.bearers.clone());
    let chosen = node.settings.live(Config::without_proof);
    let otherwise = ChosenAuthenticator::new(chosen, node.trust.clone());
    let proof = ProofAuthenticator::new(tokens, grants.clone(), otherwise).with_bearers(bearers);
    node.authenticate(PortName::Control, proof);
}

/// Bindings that the configuration names. What could not be was refused with it.
fn seeds(config: &Config) -> Vec<GrantedRoles> {
    config.security.bindings.iter().filter_map(|binding| binding.seed().ok()).collect()
}

/// What says whether this host administers the mesh, as far as the registry was read.
fn administers(node: &NodeBuilder) -> impl Fn() -> bool + Send + Sync + use<> {
    // The registry keeps neither.
    let (known, files) = (Arc::downgrade(&node.registry), node.identity_files.clone());
    let seen = Mutex::new(None);
    move || {
        let Some(registry) = known.upgrade() else { return true };
        let view = registry.view();
        let now = (files.secret_stamp(), view.changed(&AUTHORITY), view.demands_signatures());
        let mut seen = seen.lock();
        match &*seen {
            Some((of, administers)) if *of == now => *administers,
            Some(_) | None => {
                let administers = registry.may_write(&RecordId::new(JOIN_POLICY, "mesh"));
                *seen = Some((now, administers));
                administers
            }
        }
    }
}
