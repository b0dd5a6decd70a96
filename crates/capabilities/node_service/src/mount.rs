//! Mounts what tells of the daemon itself.

use std::sync::Arc;

use omnirelay_certificate_records::revocations_number;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_gossip::Gossip;
use omnirelay_gossip::reach::reach;
use omnirelay_host::wall_clock;
use omnirelay_identity::trust::HasAuthority;
use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{MeshPort, NodeBuilder, PortName, StopPhase, let_in};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::node_service_server::NodeServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::node::{EnrolmentState, MeshPortStanding, NodeCalls, RevocationNumbers};
use crate::reload::ReloadableConfig;

/// Mounts what tells of the daemon, of whose process it is known whether it is one of `omnirelay up`; gives what tells it.
pub fn mount(
    node: &mut NodeBuilder,
    mesh: (Arc<NodeTransport>, Option<Arc<Gossip>>),
    development: bool,
) -> Arc<NodeCalls> {
    let own = Arc::new(describer(node, mesh, development));
    let server = NodeServiceServer::from_arc(own.clone());
    node.serve(PortName::Control, server.send_compressed(Gzip).accept_compressed(Gzip));
    let (disk, told) = (node.disk.clone(), node.disk.clone());
    node.readiness.add(move || vec![item("data-disk", false, told.trouble())]);
    node.run(StopPhase::End, async move { disk.watch().await });
    own
}

/// What says what the daemon is.
fn describer(
    node: &NodeBuilder,
    (transport, gossip): (Arc<NodeTransport>, Option<Arc<Gossip>>),
    development: bool,
) -> NodeCalls {
    let (settings, trust) = (node.settings.clone(), node.trust.clone());
    let (judging, registry) = (node.trust.clone(), node.registry.clone());
    let (port, shown) = (node.mesh_port.subscribe(), node.trust.clone());
    let (known, gossiping) = (node.registry.clone(), gossip.clone());
    let (disk, certified, metrics) = (node.disk.clone(), node.trust.clone(), node.metrics.clone());
    NodeCalls {
        config: ReloadableConfig::new(node.registry.clone(), node.settings.clone()),
        registry: node.registry.clone(),
        readiness: node.readiness.clone(),
        started_at: wall_time(),
        clock: wall_time,
        revocations: Box::new(move || RevocationNumbers {
            known: revocations_number(&registry),
            enforced: judging.current().revocations.number(),
        }),
        let_in: Box::new(move || let_in(&settings.now(), &trust)),
        mesh_port: Box::new(move || match &*port.borrow() {
            MeshPort::Open(_) => MeshPortStanding::Open,
            MeshPort::NotEnrolled => MeshPortStanding::NotEnrolled,
            MeshPort::Taken(_) => MeshPortStanding::Taken,
        }),
        enrolment: Box::new(move || match (shown.current().own.is_some(), shown.has_authority()) {
            (true, _) => EnrolmentState::Certified,
            (false, HasAuthority::No) => EnrolmentState::NoAuthority,
            (false, HasAuthority::Yes | HasAuthority::Unknown) => EnrolmentState::NotEnrolled,
        }),
        reach: Box::new(move || reach(&known, &transport, gossip.as_deref())),
        gossips: Box::new(move || gossiping.as_ref().is_some_and(|gossip| gossip.has_begun())),
        development,
        disk_free: Box::new(move || disk.free()),
        calls: Box::new(move || metrics.objective_counts()),
        certificate_ends: Box::new(move || {
            let not_after = certified.current().own.as_ref()?.leaf.not_after;
            Some(Millis(u64::try_from(not_after).unwrap_or_default().saturating_mul(1000)))
        }),
    }
}

/// The time by the clock of the host: the store has not been asked yet when the daemon starts.
fn wall_time() -> Millis {
    Millis(whole_ms(wall_clock::unix()))
}
