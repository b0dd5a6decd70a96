//! Mounts gossip: this node becomes a member once its mesh port is open, and tells what it finds out of others.

use std::sync::{Arc, Weak};

use omnirelay_gossip::metrics::GossipMetrics;
use omnirelay_gossip::{Gossip, GossipRecord, GossipSeeds};
use omnirelay_host::chance::random_u64;
use omnirelay_host::live::Live;
use omnirelay_host::wall_clock;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_membership::NodeId;
use omnirelay_node::metrics::TransportMetrics;
use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{MeshPort, NodeBuilder, NodeError, OpenMeshPort, PortName, StopPhase};
use omnirelay_peer_records as peers;
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_wire::pb::omnirelay::mesh::membership::v1::membership_service_server::MembershipServiceServer;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use crate::membership::MembershipPort;
use crate::mesh_transport::{KnownMesh, VERSIONS};

/// How many nodes at a time are remembered to judge by an older list.
const BEHIND_MAX: usize = 64;

/// Calls to the nodes of the mesh: how they are made, and what is heard of the nodes.
pub struct MeshCalls {
    pub transport: Arc<NodeTransport>,
    /// `None`: the node has no name that a member may have. It is silent while it is switched off.
    pub gossip: Option<Arc<Gossip>>,
}

/// Makes what calls other nodes, and mounts membership by gossip. Gives too who is found to judge by an older list of revocations
/// than this node.
pub fn mount(node: &mut NodeBuilder) -> Result<(MeshCalls, mpsc::Receiver<String>), NodeError> {
    let (behind, told) = mpsc::channel(BEHIND_MAX);
    let counted = Arc::new(TransportMetrics::new(node.metrics.all())?);
    let (registry, trust, http3) =
        (node.registry.clone(), node.trust.clone(), node.settings.now().mesh.http3_support);
    let transport = move |gossip: &Weak<Gossip>| {
        let mesh = KnownMesh { registry: registry.clone(), trust: trust.clone(), gossip: gossip.clone() };
        Arc::new(NodeTransport::new(registry.node_id(), trust, Arc::new(mesh), behind, (http3, counted)))
    };
    // A name of a node was checked when it was given.
    let calls = match NodeId::new(node.registry.node_id()) {
        Ok(own) => {
            let gossip = gossip(node, own, transport)?;
            MeshCalls { transport: gossip.transport.clone(), gossip: Some(gossip) }
        }
        Err(_) => MeshCalls { transport: transport(&Weak::new()), gossip: None },
    };
    Ok((calls, told))
}

/// Mounts membership by gossip over a transport that is made for it.
fn gossip(
    node: &mut NodeBuilder,
    own: NodeId,
    transport: impl FnOnce(&Weak<Gossip>) -> Arc<NodeTransport>,
) -> Result<Arc<Gossip>, NodeError> {
    let (settings, registry) = (node.settings.clone(), node.registry.clone());
    let rtt_per_peer = settings.live(|config| config.mesh.gossip.rtt_per_peer);
    let metrics = Arc::new(GossipMetrics::new(node.metrics.all(), rtt_per_peer)?);
    let (known, alive, registered) = (registry.clone(), registry.clone(), registry.clone());
    let is_registered = move |node: &str| peers::is_registered(&registered, node);
    let seeds = GossipSeeds::new(
        settings.live(|config| config.mesh.seeds.clone()),
        move || peers::others(&known),
        move || peers::alive(&alive),
        is_registered,
    );
    let config = settings.live(|config| config.mesh.gossip.membership());
    let gossip = Gossip::new(own, config, transport, seeds, metrics);
    let measured = gossip.clone();
    node.metrics.before_scrape(move || measured.measure());
    let (conflicting, is_enabled) = (gossip.clone(), enabled(&settings));
    node.readiness.add(move || {
        if !is_enabled.get() {
            return Vec::new();
        }
        let rival = conflicting.rival().map(|endpoint| {
            format!("another daemon, at {endpoint}, has the id of this node; give one of them another id")
        });
        vec![item("gossip", false, rival)]
    });
    node.serve(
        PortName::Mesh,
        MembershipServiceServer::new(MembershipPort {
            gossip: gossip.clone(),
            transport: gossip.transport.clone(),
        }),
    );
    node.run(StopPhase::Drain, gossip.clone().run());
    let (speaks, trust, state) = (gossip.clone(), node.trust.clone(), node.mesh_port.subscribe());
    let host = node.addresses.host;
    node.run(StopPhase::HandOver, async move {
        let says = GossipAnnouncer { settings, trust, host };
        says.run(&speaks, state).await;
    });
    let tells = gossip.clone();
    let view = registry.clone();
    node.run(StopPhase::End, async move { tells.tell_all(|node| peers::leads(view.view(), node)).await });
    let leaves = gossip.clone();
    node.at(StopPhase::HandOver, async move { leaves.leave().await });
    Ok(gossip)
}

/// Whether this node gossips.
pub(crate) fn enabled(settings: &LiveConfig) -> Live<bool> {
    settings.live(|config| config.mesh.gossip.enabled)
}

/// Announcer of this node in gossip: says what it is, as long as it gossips.
struct GossipAnnouncer {
    settings: LiveConfig,
    trust: Arc<MeshTrust>,
    host: std::net::IpAddr,
}

impl GossipAnnouncer {
    /// Begins once the mesh port is open, and says anew what changes; ends while gossip is switched off.
    async fn run(&self, gossip: &Gossip, mut state: watch::Receiver<MeshPort>) {
        let (mut trusted, mut told) = (self.trust.changes(), 0);
        let mut any_setting = self.settings.live(|_| ());
        loop {
            let settings = self.settings.now();
            let open = match &*state.borrow_and_update() {
                MeshPort::Open(open) => Some(open.clone()),
                MeshPort::NotEnrolled | MeshPort::Taken(_) => None,
            };
            trusted.mark_unchanged();
            match open {
                _ if !settings.mesh.gossip.enabled => gossip.end().await,
                Some(open) => say(gossip, &self.says(&settings, &open)),
                None => {}
            }
            let implausible = gossip.implausible();
            if implausible > told && gossip.is_alone() {
                warn!(
                    claims = implausible - told,
                    "nobody is believed: the clock of this host seems to be more than a day behind those of others"
                );
            }
            told = implausible;
            let period = settings.mesh.gossip.metadata_refresh_period.0;
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                changed = trusted.changed() => if changed.is_err() { return },
                () = any_setting.replaced() => {}
                () = tokio::time::sleep(period) => {}
            }
        }
    }

    fn says(&self, settings: &Config, open: &OpenMeshPort) -> GossipRecord {
        let Config { node, mesh, .. } = settings;
        let own = self.trust.current().own.clone();
        GossipRecord {
            role: node.role.clone(),
            cluster: node.cluster.clone(),
            region: node.region.clone(),
            zone: node.zone.clone(),
            wire_versions: VERSIONS,
            http3: open.udp.is_some(),
            endpoint: crate::mount::advertised_address(mesh.advertise.as_deref(), open.address, self.host),
            certificate_not_after: own.map(|own| own.leaf.not_after),
            pinned: !mesh.pinned_certificates.is_empty(),
            labels: node.labels.clone(),
        }
    }
}

/// Says this of the node, from the begin on.
fn say(gossip: &Gossip, says: &GossipRecord) {
    let said = match gossip.has_begun() {
        true => gossip.say(says),
        false => match random_u64() {
            Ok(seed) => gossip.begin(says, wall_clock::unix(), seed),
            Err(error) => return error!(%error, "gossip not begun: the system has no chance"),
        },
    };
    if let Err(error) = said {
        warn!(%error, "gossip says less of this node than it is");
    }
}
