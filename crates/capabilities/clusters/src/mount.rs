//! Mounts clusters.

use omnirelay_cluster_records::CLUSTER;
use omnirelay_node::{CapabilityKinds, NodeBuilder, PortName};
use omnirelay_nouns::topic::{CHANGES, Topic, TopicEvent};
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::cluster_control_service_server::ClusterControlServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::{Clusters, OwnCluster, WatchedClusters};

pub const KINDS: CapabilityKinds = CapabilityKinds {
    mirrored: &[CLUSTER],
    restored: &[RestorationRule::of(CLUSTER, RestoredBy::Furthest)],
    ..CapabilityKinds::NONE
};

/// Mounts clusters.
pub fn mount(node: &mut NodeBuilder) {
    let name = node.settings.now().node.cluster.clone();
    let own = OwnCluster { name, region: node.settings.live(|config| config.node.region.clone()) };
    node.topics.add(topic(own.clone()));
    let clusters = Clusters::new(node.registry.clone(), own, node.watches_max());
    let clusters = ClusterControlServiceServer::new(clusters);
    node.serve(PortName::Control, clusters.send_compressed(Gzip).accept_compressed(Gzip));
}

fn topic(own: OwnCluster) -> Topic {
    let told = |event: pb::ClusterEvent| {
        let what = match event.r#type() {
            pb::cluster_event::Type::Added => "added",
            pb::cluster_event::Type::Removed => "removed",
            _ => "modified",
        };
        let data = pb::EventData { cluster: event.cluster, ..Default::default() };
        TopicEvent { what, data }
    };
    Topic::of("clusters", CHANGES, [CLUSTER], move || WatchedClusters { own: own.clone() }, told)
}
