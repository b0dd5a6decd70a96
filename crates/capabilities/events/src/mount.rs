//! Mounts events: notes what this node lacks and has again, and serves what all capabilities tell.

use omnirelay_node::{NodeBuilder, PortName, StopPhase};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::event_service_server::EventServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::Events;
use crate::readiness_changes::ReadinessChanges;

pub fn mount(node: &mut NodeBuilder) {
    let (changes, readiness) = (ReadinessChanges::told_in(node.notices.clone()), node.readiness.clone());
    node.run(StopPhase::End, async move { changes.follow(&readiness).await });
    let (config, watches_max) = (node.settings.now(), node.watches_max());
    let cluster = &config.node.cluster;
    let (registry, topics, notices) = (node.registry.clone(), node.topics.clone(), node.notices.clone());
    let events = Events::new(registry, topics, notices, cluster, watches_max);
    node.serve(
        PortName::Control,
        EventServiceServer::new(events).send_compressed(Gzip).accept_compressed(Gzip),
    );
}
