//! Mounts clusters.

use std::sync::Arc;

use omnirelay_cluster_records::domain::{DOMAIN, DOMAIN_FOLLOWER, DomainKind, REPLICA, reached};
use omnirelay_cluster_records::{CLUSTER, cluster_id};
use omnirelay_leadership_records::ScopeFences;
use omnirelay_node::readiness::item;
use omnirelay_node::transport::{NodeTransport, SiblingWays};
use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_nouns::feed::WatchPlaces;
use omnirelay_nouns::topic::{CHANGES, Topic, TopicEvent};
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_registry::other_registries::OtherRegistries;
use omnirelay_registry::view::View;
use omnirelay_store::{Epoch, Revision};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::cluster_control_service_server::ClusterControlServiceServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::domain_control_service_server::DomainControlServiceServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::replication_service_server::ReplicationServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::domain_gate::DomainGate;
use crate::domains::DomainCalls;
use crate::domains::merge::DomainMerger;
use crate::domains::show::DomainReader;
use crate::readiness::{unfollowed, unprotected};
use crate::replication::heal::ClusterComparer;
use crate::replication::metrics::ReplicationMetrics;
use crate::replication::{DomainFollower, ReplicationSource};
use crate::{Clusters, OwnCluster, WatchedClusters};

pub const KINDS: CapabilityKinds = CapabilityKinds {
    mirrored: &[CLUSTER, DOMAIN, DOMAIN_FOLLOWER, REPLICA],
    // Whoever follows says it again.
    claimed: &[DOMAIN_FOLLOWER],
    restored: &[
        RestorationRule::of(CLUSTER, RestoredBy::Furthest),
        RestorationRule::merged(DOMAIN, RestoredBy::Furthest),
        RestorationRule::of(REPLICA, RestoredBy::Furthest),
    ],
    ..CapabilityKinds::NONE
};

/// Mounts clusters. Records of `kinds` are followed by clusters that are not active for them: by the node that `leads` the mesh, over
/// `transport`.
///
/// # Errors
/// [`NodeError`] when a metric cannot be made.
pub fn mount(
    node: &mut NodeBuilder,
    kinds: Vec<DomainKind>,
    leads: Arc<dyn ScopeFences>,
    transport: Arc<NodeTransport>,
) -> Result<(), NodeError> {
    let name = node.settings.now().node.cluster.clone();
    let own =
        OwnCluster { name: name.clone(), region: node.settings.live(|config| config.node.region.clone()) };
    node.topics.add(topic(own.clone(), node.registry.clone()));
    let (registry, kinds): (_, Arc<[DomainKind]>) = (node.registry.clone(), kinds.into());
    node.mergers.add(DOMAIN, Arc::new(DomainMerger));
    registry.write_gate().add(Arc::new(DomainGate { cluster: name.clone(), kinds: kinds.clone() }));
    registry.set_other_registries(Arc::new(FollowedRegistries));
    let ways = Arc::new(SiblingWays::new(transport));
    let comparer =
        Arc::new(ClusterComparer::new(registry.clone(), name.clone(), kinds.clone(), ways.clone()));
    let places = WatchPlaces::new(node.watches_max());
    let source = ReplicationSource::new(registry.clone(), name.clone(), kinds.clone(), places);
    let clusters = Clusters::new(registry.clone(), own, node.watches_max());
    let clusters = ClusterControlServiceServer::new(clusters);
    node.serve(PortName::Control, clusters.send_compressed(Gzip).accept_compressed(Gzip));
    let domains = DomainCalls::new(registry.clone(), name.clone(), comparer);
    let domains = DomainControlServiceServer::new(domains);
    node.serve(PortName::Control, domains.send_compressed(Gzip).accept_compressed(Gzip));
    let source = ReplicationServiceServer::new(source);
    node.serve(PortName::Control, source.send_compressed(Gzip).accept_compressed(Gzip));
    let metrics = ReplicationMetrics::new(node.metrics.all())?;
    let (read, cluster) = (registry.clone(), name.clone());
    node.metrics.before_scrape(move || {
        let view = read.view();
        let domains = DomainReader { view, cluster: &cluster }.all();
        metrics.read(&domains, view.now(), |name| view.get(&cluster_id(name)).is_some());
    });
    let (read, cluster) = (registry.clone(), name.clone());
    node.readiness.add(move || {
        let view = read.view();
        let domains = DomainReader { view, cluster: &cluster }.all();
        let known = |name: &str| view.get(&cluster_id(name)).is_some();
        vec![
            item("domains-followed", false, unfollowed(&domains, view.now())),
            item("domains-protected", false, unprotected(&domains, view.now(), known)),
        ]
    });
    let follower = DomainFollower::new(registry, name, kinds, leads, ways);
    node.run(StopPhase::Withdraw, async move { follower.run().await });
    Ok(())
}

/// Registries of the clusters that are active for what is followed here.
struct FollowedRegistries;

impl OtherRegistries for FollowedRegistries {
    fn reached(&self, view: &View, epoch: Epoch) -> Option<Revision> {
        reached(view, epoch)
    }
}

fn topic(own: OwnCluster, registry: Arc<Registry>) -> Topic {
    let told = |event: pb::ClusterEvent| {
        let what = match event.r#type() {
            pb::cluster_event::Type::Added => "added",
            pb::cluster_event::Type::Removed => "removed",
            _ => "modified",
        };
        let data = pb::EventData { cluster: event.cluster, ..Default::default() };
        TopicEvent { what, data }
    };
    Topic::of(
        "clusters",
        CHANGES,
        [CLUSTER],
        move || WatchedClusters { own: own.clone(), registry: registry.clone() },
        told,
    )
}
