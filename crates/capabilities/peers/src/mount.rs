//! Mounts peers: keeps the node present in the mesh, judges silent peers, and serves what is known of all.

use std::sync::Arc;

use omnirelay_gossip::Gossip;
use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_peer_records::PEER;
use omnirelay_peer_records::merge::PeerMerger;
use omnirelay_peer_records::presence::{Presence, PresenceSettings};
use omnirelay_peer_records::roster::statuses;
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_registry::view::View;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tonic::codec::CompressionEncoding::Gzip;

use crate::keep_present::keep_present;
use crate::metrics::PeersMetrics;
use crate::{HeldByPeers, Peers, topic};
use pb::peer::Status;
use pb::peer_control_service_server::PeerControlServiceServer;

pub const KINDS: CapabilityKinds = CapabilityKinds {
    mirrored: &[PEER],
    // What operators ordered of a peer is to outlive it, so every daemon restores what it knows of that.
    restored: &[RestorationRule::merged(PEER, RestoredBy::Presence)],
    ..CapabilityKinds::NONE
};

/// Facts that a node says of itself at its start and other capabilities know.
#[derive(Debug, Default)]
pub struct StartupAnnouncement {
    /// The public key of the seals of its audit records.
    pub audit_key: Vec<u8>,
    /// Where its relay is.
    pub relay: Option<String>,
    /// The clusters whose advertisements it fetches.
    pub fetches: Vec<String>,
    /// Whether it can issue certificates.
    pub issues: bool,
}

/// Presence of this node in the mesh. It has none before [`mount`].
pub fn presence(node: &mut NodeBuilder, said: StartupAnnouncement) -> Arc<Presence> {
    let presence = Arc::new(of_node(node, said));
    let stands = presence.clone();
    node.readiness.add(move || {
        let untold = (!stands.stands()).then(|| "this node is not registered yet; see its log".to_owned());
        vec![item("session", true, untold)]
    });
    presence
}

/// Parts of other capabilities that are shown of peers.
pub struct ShownOfPeers {
    /// The nodes of federated clusters that are known.
    pub federated: Box<dyn Fn() -> Vec<pb::HeardMember> + Send + Sync>,
    /// How they are called; `None`: they are not.
    pub transport: Option<Arc<NodeTransport>>,
    /// What is heard of them; `None`: nothing is.
    pub gossip: Option<Arc<Gossip>>,
    /// What they hold.
    pub held: HeldByPeers,
}

#[cfg(any(test, feature = "testing"))]
impl Default for ShownOfPeers {
    fn default() -> Self {
        Self { federated: Box::new(Vec::new), transport: None, gossip: None, held: HeldByPeers::default() }
    }
}

/// Mounts peers as a node has them that can do nothing else.
#[cfg(any(test, feature = "testing"))]
pub fn mount_alone(node: &mut NodeBuilder, said: StartupAnnouncement) -> Result<Arc<Presence>, NodeError> {
    let presence = presence(node, said);
    mount(node, presence.clone(), ShownOfPeers::default())?;
    Ok(presence)
}

/// Mounts what keeps this node's `presence`, judges silent peers, and serves all; gives what serves them.
pub fn mount(
    node: &mut NodeBuilder,
    presence: Arc<Presence>,
    shown: ShownOfPeers,
) -> Result<Arc<Peers>, NodeError> {
    let registry = node.registry.clone();
    node.mergers.add(PEER, Arc::new(PeerMerger));
    node.run(StopPhase::Leave, keep_present(registry.clone(), presence.clone(), node.config.renew_every()));
    let withdrawn = presence.clone();
    node.at(StopPhase::Withdraw, async move { withdrawn.withdraw().await });
    node.at(StopPhase::Leave, async move { presence.leave().await });
    let untold = node.addresses.trouble(node.config.mesh.advertise.as_deref());
    node.readiness.add(move || vec![item("address", false, untold.clone())]);
    let (metrics, counted) = (PeersMetrics::new(node.metrics.all())?, registry.clone());
    node.metrics.before_scrape(move || count(&metrics, counted.view()));
    node.topics.add(topic(registry.clone()));
    let peers = Peers::new(registry, node.config.control.watches_max, shown.held);
    let peers = peers.calling(shown.transport);
    let peers = Arc::new(peers.hearing(shown.gossip).beside(shown.federated));
    let server = PeerControlServiceServer::from_arc(peers.clone());
    node.serve(PortName::Control, server.send_compressed(Gzip).accept_compressed(Gzip));
    Ok(peers)
}

fn of_node(node: &NodeBuilder, said: StartupAnnouncement) -> Presence {
    let config = &node.config;
    let settings = PresenceSettings {
        session_ttl: config.session_ttl(),
        dead_after: config.dead_after(),
        forget_after: config.forget_after(),
        session_secret: node.session_secret.clone(),
        audited: config.audit.membership,
    };
    let profile = pb::PeerMetadata {
        role: config.node.role.clone(),
        cluster_id: config.node.cluster.clone(),
        region: config.node.region.clone(),
        zone: config.node.zone.clone(),
        mesh_version: env!("CARGO_PKG_VERSION").to_owned(),
        http3_support: false,
        endpoint: None,
        endpoints: Some(node.addresses.endpoints(config.mesh.advertise.as_deref(), said.relay)),
        metadata_version: 0,
        labels: config.node.labels.clone(),
        audit_key: said.audit_key,
        campaigns: config.mesh.leadership.enabled,
        fetches: said.fetches,
        unknown_fields: Default::default(),
        knows_signed_records: true,
        without_identity: false,
        identity_of_files: false,
        issues: said.issues,
    };
    Presence::new(node.registry.clone(), settings, profile)
}

fn count(metrics: &PeersMetrics, view: &View) {
    let found = statuses(view);
    for status in [Status::Unspecified, Status::Alive, Status::Suspect, Status::Dead, Status::Left] {
        metrics.set(status.as_str_name(), found.iter().filter(|found| **found == status).count());
    }
}
