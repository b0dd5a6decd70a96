//! Mounts peers: keeps the node present in the mesh, judges silent peers, and serves what is known of all.

use std::sync::Arc;

use omnirelay_core::labels::Labels;
use omnirelay_gossip::Gossip;
use omnirelay_gossip::gossip_health::GossipHealth;
use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{CapabilityKinds, NodeAddresses, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_peer_records::merge::PeerMerger;
use omnirelay_peer_records::presence::{Presence, PresenceSettings};
use omnirelay_peer_records::roster::statuses;
use omnirelay_peer_records::{PEER, not_left};
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_registry::view::View;
use omnirelay_settings::{Config, NodeConfig};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tonic::codec::CompressionEncoding::Gzip;

use crate::keep_present::keep_present;
use crate::metrics::{DEAD, PeersMetrics, SUSPECT};
use crate::{HeldByPeers, Peers, topic};
use pb::peer::Status;
use pb::peer_control_service_server::PeerControlServiceServer;
use pb::peer_health::State;

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
    node.run(
        StopPhase::Leave,
        keep_present(registry.clone(), presence.clone(), node.settings.live(Config::renew_every)),
    );
    node.run(StopPhase::Leave, say_configured(node, presence.clone()));
    let withdrawn = presence.clone();
    node.at(StopPhase::Withdraw, async move { withdrawn.withdraw().await });
    node.at(StopPhase::Leave, async move { presence.leave().await });
    let addresses = node.addresses;
    let untold = node.settings.live(move |config| addresses.trouble(config.mesh.advertise.as_deref()));
    node.readiness.add(move || vec![item("address", false, untold.get())]);
    let (metrics, counted) = (PeersMetrics::new(node.metrics.all())?, registry.clone());
    let heard = shown.gossip.clone();
    node.metrics.before_scrape(move || {
        count(&metrics, counted.view());
        count_unexpected(&metrics, counted.view(), heard.as_deref());
    });
    node.topics.add(topic(registry.clone()));
    let peers = Peers::new(registry, node.watches_max(), shown.held);
    let peers = peers.calling(shown.transport);
    let peers = Arc::new(peers.hearing(shown.gossip).beside(shown.federated));
    let server = PeerControlServiceServer::from_arc(peers.clone());
    node.serve(PortName::Control, server.send_compressed(Gzip).accept_compressed(Gzip));
    Ok(peers)
}

fn of_node(node: &NodeBuilder, said: StartupAnnouncement) -> Presence {
    let secret = node.session_secret.clone();
    let settings = node.settings.live(move |config| PresenceSettings {
        session_ttl: config.session_ttl(),
        dead_after: config.dead_after(),
        forget_after: config.forget_after(),
        session_secret: secret.clone(),
        audited: config.audit.membership,
    });
    let config = node.settings.now();
    let mut profile = pb::PeerMetadata {
        cluster_id: config.node.cluster.clone(),
        mesh_version: env!("CARGO_PKG_VERSION").to_owned(),
        audit_key: said.audit_key,
        fetches: said.fetches,
        knows_signed_records: true,
        issues: said.issues,
        ..pb::PeerMetadata::default()
    };
    profile.endpoints.get_or_insert_default().relay = said.relay;
    ConfiguredProfile::of(&config, &node.addresses).say(&mut profile);
    Presence::new(node.registry.clone(), settings, profile)
}

/// Has the node say of itself what it is configured with by then.
fn say_configured(node: &NodeBuilder, presence: Arc<Presence>) -> impl Future<Output = ()> + use<> {
    let addresses = node.addresses;
    let configured = node.settings.live(move |config| ConfiguredProfile::of(config, &addresses));
    configured.each(move |configured| presence.say(|profile| configured.say(profile)))
}

/// Facts that a node says of itself because it is configured with them.
#[derive(Clone, Debug, PartialEq)]
struct ConfiguredProfile {
    role: String,
    region: String,
    zone: String,
    labels: Labels,
    /// Where others reach its control port.
    control: Option<String>,
    campaigns: bool,
}

impl ConfiguredProfile {
    fn of(config: &Config, addresses: &NodeAddresses) -> Self {
        let NodeConfig { role, region, zone, labels, .. } = config.node.clone();
        let control = addresses.endpoints(config.mesh.advertise.as_deref(), None).control;
        Self { role, region, zone, labels, control, campaigns: config.mesh.leadership.enabled }
    }

    fn say(self, profile: &mut pb::PeerMetadata) {
        let Self { role, region, zone, labels, control, campaigns } = self;
        (profile.role, profile.region, profile.zone) = (role, region, zone);
        (profile.labels, profile.campaigns) = (labels, campaigns);
        profile.endpoints.get_or_insert_default().control = control;
    }
}

fn count(metrics: &PeersMetrics, view: &View) {
    let found = statuses(view);
    for status in [Status::Unspecified, Status::Alive, Status::Suspect, Status::Dead, Status::Left] {
        metrics.set(status.as_str_name(), found.iter().filter(|found| **found == status).count());
    }
}

/// Counts those that do not answer, by the worse of what gossip and what the registry has of them. Who is drained or cordoned may go.
fn count_unexpected(metrics: &PeersMetrics, view: &View, gossip: Option<&Gossip>) {
    let heard = GossipHealth::of(gossip, view);
    let (mut suspect, mut dead) = (0, 0);
    for (node, peer, unproven) in not_left(view) {
        // Nor does the mesh expect one that is none of it any more.
        if peer.cordoned || peer.draining || unproven.is_some() {
            continue;
        }
        match (peer.status(), heard.state(&node)) {
            (Status::Dead, _) | (_, State::Dead) => dead += 1,
            (Status::Suspect, _) | (_, State::Suspect) => suspect += 1,
            _ => {}
        }
    }
    metrics.set_unexpected(SUSPECT, suspect);
    metrics.set_unexpected(DEAD, dead);
}
