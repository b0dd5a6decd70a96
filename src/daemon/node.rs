//! One node: its registry, its presence and its surface, put together.

mod probes;
mod registers;
mod relay;
mod serving;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_store::{Kind, Retention, Store};
use omnirelay_wire::pb::aeroarc::registry::v1::aero_registry_server::AeroRegistryServer;
use omnirelay_wire::pb::omnirelay::dev::v1::dev_service_server::DevServiceServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::registers::v1::advertisement_service_server::AdvertisementServiceServer;
use omnirelay_wire::pb::omnirelay::registers::v1::register_service_server::RegisterServiceServer;
use omnirelay_wire::pb::omnirelay::security::v1::audit_service_server::AuditServiceServer;
use tokio::task::JoinSet;
use tonic::codec::CompressionEncoding::Gzip;

use super::access::Access;
use super::audit::AUDIT;
use super::audit::files::{AuditFiles, AuditFilesError};
use super::audit::heads::{Heads, follow_seals};
use super::audit::refusals::{Refusals, enter_refusals};
use super::audit::sealer::Sealer;
use super::audit::store::newest_revision_of;
use super::chance::random_u64;
use super::config::{Config, LoopbackTrust};
use super::metrics::Metrics;
use super::objects::advertisements::{ADVERTISEMENT, Advertisements};
use super::objects::aero_registry::{AeroRegistry, AeroRegistrySettings};
use super::objects::agents::AGENT;
use super::objects::audit::{AUDIT_SEAL, Audit};
use super::objects::dev::{Dev, Process};
use super::objects::leaders::campaign::{CampaignSettings, Campaigner};
use super::objects::leaders::{LEADERSHIP, Leaders};
use super::objects::node::{LetIn, Node as NodeObject};
use super::objects::operations::OperationCalls;
use super::objects::peers::presence::{Presence, PresenceSettings};
use super::objects::peers::{PEER, Peers};
use super::objects::registers::{REGISTER, Registers};
use super::objects::relays::RELAY;
use super::objects::store::StoreCalls;
use super::operations::Operations;
use super::presence::keep_present;
use super::readiness::Readiness;
use super::registry::Registry;
use super::registry::follow::follow_log;
use super::relay::assembly::{Relay, RelayError};
use super::surface::{
    FinishedCall, Hosts, Insecure, Limits, Loopback, OMNIRELAY, ProofNeeded, Proven, RequestObserver,
    Surface, SurfaceError, TlsError,
};
use crate::core::audit_seal::mac::MacKey;
use pb::leadership_control_service_server::LeadershipControlServiceServer;
use pb::node_service_server::NodeServiceServer;
use pb::operation_service_server::OperationServiceServer;
use pb::peer_control_service_server::PeerControlServiceServer;
use pb::store_service_server::StoreServiceServer;

pub use relay::{PortTaken, RelayAddresses, RelayListeners};

use probes::{Probed, probes};
use relay::{RelayPorts, RelayServices};
use serving::{Serving, per_address_max};

/// The kinds that every daemon holds in memory. The audit trail is not among them.
static MIRRORED: [Kind; 6] = [PEER, LEADERSHIP, REGISTER, ADVERTISEMENT, RELAY, AGENT];
/// Those of which nobody restores what a new epoch has lost: whoever lives says so again. In the order
/// in which an outage has them brought back: agents are with relays.
static CLAIMED: [Kind; 2] = [RELAY, AGENT];
/// Those of which every daemon restores all that a new epoch has lost: what operators ordered of a peer is to outlive it.
static SHARED: [Kind; 1] = [PEER];
/// Those of which it only tells what changes.
static FOLLOWED: [Kind; 2] = [AUDIT, AUDIT_SEAL];

/// How long a node that stops waits for its last audit records to be sealed.
const LAST_SEAL_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// How often a node that waits for its store looks whether it is ready.
const READY_LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(2);

/// How often the store is tidied.
const HOUSEKEEPING_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// The folder of telemetry in a data directory.
pub const TELEMETRY_FOLDER: &str = "telemetry";

/// What a node is made of.
pub struct NodeSpec {
    pub node_id: String,
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub session_secret: String,
    pub listener: TcpListener,
    /// By what else it lets callers in.
    pub access: Access,
    /// The ports of the relay and of the registry of relays, where one of them is switched on.
    pub relay: Option<RelayListeners>,
    /// Where it keeps what it knows of the audit trail.
    pub audit: AuditFiles,
    /// Where a relay keeps telemetry, unless its configuration says where.
    pub telemetry: PathBuf,
    /// The process, where it serves faults on demand.
    pub process: Option<Arc<dyn Process>>,
}

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot serve the API")]
    Surface(#[from] SurfaceError),
    #[error("cannot use the listening socket")]
    Listen(#[source] std::io::Error),
    #[error("cannot start the relay")]
    Relay(#[from] RelayError),
    #[error("cannot use the registry that the relay is to tell")]
    RelayRegistry(#[source] tonic::transport::Error),
    #[error("cannot serve the relay's port under TLS")]
    Tls(#[from] TlsError),
    #[error("cannot keep the audit trail")]
    Audit(#[from] AuditFilesError),
    #[error("cannot push to the pools of others")]
    Resync(#[from] reqwest::Error),
    #[error("cannot count")]
    Metrics(#[from] prometheus::Error),
}

/// A running node. Dropping it ends it as a crash would.
pub struct Node {
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    readiness: Arc<Readiness>,
    heads: Arc<Heads>,
    control: SocketAddr,
    serving: Serving,
    ports: Option<RelayPorts>,
    relay: Option<Relay>,
    /// Keeps the node present; ended before it leaves, so that nothing brings it back.
    keeping: JoinSet<()>,
    campaigner: Arc<Campaigner>,
    /// Ended before what the node leads is handed over.
    campaigning: JoinSet<()>,
    /// Ended when the node is dropped.
    tasks: JoinSet<()>,
}

/// The services that are made before the others.
struct Services {
    audit: Audit,
    registers: Registers,
    advertisements: Advertisements,
    operations: OperationCalls,
    /// Where the relay or the registry of relays is switched on.
    relay: Option<RelayServices>,
    aero: AeroRegistry,
}

impl Node {
    /// Starts everything; returns once the API listens, before the node is ready.
    ///
    /// # Errors
    /// [`NodeError`]; nothing runs then.
    pub async fn start(mut spec: NodeSpec) -> Result<Self, NodeError> {
        let control = spec.listener.local_addr().map_err(NodeError::Listen)?;
        let audit_key = spec.audit.key(&spec.node_id)?;
        let registry = Arc::new(registry(&spec, audit_key.mac()));
        let heads = Arc::new(Heads::new(spec.audit.heads()?));
        let relay_listeners = spec.relay.take();
        let relay_addresses = relay_listeners.as_ref().map(RelayListeners::addresses).transpose();
        let relay_addresses = relay_addresses.map_err(NodeError::Listen)?;
        let endpoints = endpoints(&spec.config, control, relay_addresses);
        let presence = Arc::new(presence(&registry, &spec, endpoints, audit_key.public()));
        let metrics = Arc::new(Metrics::new()?);
        let aero = aero_registry(&registry, &spec.config);
        let relay = relay_addresses.map(|at| relay::start(&spec, at.grpc, &registry, &aero, &metrics));
        let relay = relay.transpose()?.flatten();
        let relay_services =
            relay_listeners.as_ref().map(|_| RelayServices::new(&spec.config, relay.as_ref(), &aero));
        let readiness = Arc::new(readiness(&registry, &presence, relay_services.clone()));
        let audit = Audit::new(registry.clone(), heads.clone(), spec.config.control.watches_max);
        let refusals = Arc::new(Refusals::open(&spec.audit)?);
        let observer = Arc::new(Observer { metrics: metrics.clone(), refusals: refusals.clone() });
        let operations = Arc::new(Operations::new(registry.clone()));
        let pool = Arc::new(registers::pool(&registry, &spec, &presence));
        let resync = Arc::new(registers::resync(&spec, &pool, &presence, &metrics, &operations)?);
        let watches_max = spec.config.control.watches_max;
        let services = Services {
            aero: aero.clone(),
            audit,
            registers: Registers::new(registry.clone(), pool.clone(), resync.pushed_through()),
            advertisements: Advertisements::new(pool.clone(), resync.clone(), watches_max),
            operations: OperationCalls::new(registry.clone(), operations, watches_max),
            relay: relay_services.clone(),
        };
        let probed =
            Probed { registry: registry.clone(), readiness: readiness.clone(), metrics: metrics.clone() };
        let surface = surface(&spec, probed.clone(), services, observer.clone())?;
        let ports = relay_listeners.zip(relay_services).map(|(listeners, services)| {
            RelayPorts::start(listeners, &spec.config, &services, probed, observer)
        });
        let ports = ports.transpose()?;

        let (mut tasks, limits) = (JoinSet::new(), limits(&spec.config));
        let serving = Serving::of_control(&mut tasks, spec.listener, spec.access, surface, limits)?;
        tasks.spawn(follow_log(registry.clone()));
        let (files, keep) = (spec.audit.clone(), spec.config.audit.age.0);
        tasks.spawn(Sealer::new(registry.clone(), audit_key, files, heads.clone(), keep).run());
        tasks.spawn(enter_refusals(registry.clone(), refusals, spec.audit.clone()));
        tasks.spawn(follow_seals(registry.clone(), heads.clone(), spec.audit.clone()));
        tasks.spawn(resync.run());
        tasks.spawn(async move { aero.run().await });
        let mut keeping = JoinSet::new();
        keeping.spawn(keep_present(registry.clone(), presence.clone(), spec.config.renew_every()));
        let (campaigner, campaigning) = campaign(&registry, &spec.config, &metrics);
        tasks.spawn(async move { pool.run().await });
        tasks.spawn(registry.clone().keep_house(retention(&spec.config), HOUSEKEEPING_EVERY));
        Ok(Self {
            registry,
            presence,
            readiness,
            heads,
            control,
            serving,
            ports,
            relay,
            keeping,
            campaigner,
            campaigning,
            tasks,
        })
    }

    pub fn id(&self) -> &str {
        self.registry.node_id()
    }

    /// Where the API listens.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Where the relay and the registry of relays listen; `None` while neither is switched on.
    pub fn relay(&self) -> Option<RelayAddresses> {
        self.ports.as_ref().map(RelayPorts::addresses)
    }

    /// Whether it has a session that the store has not called over.
    #[cfg(test)]
    pub(super) fn has_session(&self) -> bool {
        self.presence.has_session()
    }

    /// Returns once the node is ready: `/readyz` says 200.
    pub async fn ready(&self) {
        while !self.readiness.is_ready() {
            tokio::time::sleep(READY_LOOK_EVERY).await;
        }
    }

    /// Returns once the node is ready, or its store is known to be away.
    pub async fn ready_or_waiting(&self) {
        while !self.readiness.is_ready() && self.registry.view().silence().is_none() {
            tokio::time::sleep(READY_LOOK_EVERY).await;
        }
    }

    /// Why the store does not answer, while the node is not ready because of that.
    pub fn awaited(&self) -> Option<String> {
        let view = self.registry.view();
        let waits = !self.readiness.is_ready() && view.silence().is_some();
        waits.then(|| view.connectivity().trouble().unwrap_or_default())
    }

    /// Stops on purpose: no new calls, streams told to go elsewhere, running calls finished, the
    /// peer marked as left and its session ended.
    pub async fn stop(mut self) {
        self.readiness.drain();
        // First of all: others are waiting for it.
        self.campaigning.shutdown().await;
        self.presence.withdraw().await;
        self.campaigner.leave().await;
        let relay_drained = async {
            if let Some(ports) = &mut self.ports {
                ports.drain().await;
            }
            if let Some(relay) = self.relay.take() {
                relay.stop().await;
            }
        };
        tokio::join!(self.serving.stop(), relay_drained);
        // Somebody may have handed over to it before hearing that it stops.
        self.campaigner.leave().await;
        self.seal_last().await;
        self.keeping.shutdown().await;
        self.presence.leave().await;
        if let Some(ports) = self.ports.take() {
            ports.end().await;
        }
        self.tasks.shutdown().await;
    }

    /// Gives what was done last the time to be sealed: a node that never comes back seals nothing.
    async fn seal_last(&self) {
        if self.registry.view().silence().is_some() {
            return;
        }
        let sealed = async {
            let newest = newest_revision_of(self.registry.store(), self.registry.node_id()).await;
            let newest = newest.unwrap_or(0);
            self.heads.wait_through(self.registry.node_id(), newest, LAST_SEAL_WAIT).await
        };
        if tokio::time::timeout(LAST_SEAL_WAIT, sealed).await != Ok(true) {
            tracing::warn!("the last audit records are not sealed; they are at the next start");
        }
    }
}

/// The registry of a node, and what is special about its kinds.
fn registry(spec: &NodeSpec, mac: &MacKey) -> Registry {
    Registry::new(spec.node_id.clone(), spec.store.clone(), &MIRRORED)
        .following(&FOLLOWED)
        .claiming(&CLAIMED)
        .restoring(&SHARED, spec.config.session_ttl())
        .marking_audit(mac.clone())
}

/// Where others reach this node.
fn endpoints(config: &Config, control: SocketAddr, relay: Option<RelayAddresses>) -> pb::PeerEndpoints {
    let relay = relay.map(|addresses| relay::endpoint(&config.relay, addresses.grpc));
    pb::PeerEndpoints { control: Some(control.to_string()), mesh: None, relay }
}

fn readiness(registry: &Arc<Registry>, presence: &Arc<Presence>, relay: Option<RelayServices>) -> Readiness {
    let present = presence.clone();
    let readiness = Readiness::new(registry.clone(), move || present.stands());
    match relay {
        Some(relay) => readiness.and(move || relay.readiness()),
        None => readiness,
    }
}

fn presence(
    registry: &Arc<Registry>,
    spec: &NodeSpec,
    endpoints: pb::PeerEndpoints,
    audit_key: &[u8],
) -> Presence {
    let config = &spec.config;
    let settings = PresenceSettings {
        session_ttl: config.session_ttl(),
        dead_after: config.dead_after(),
        forget_after: config.forget_after(),
        session_secret: spec.session_secret.clone(),
    };
    let node = &config.node;
    let profile = pb::PeerMetadata {
        role: node.role.clone(),
        cluster_id: node.cluster.clone(),
        region: node.region.clone(),
        zone: node.zone.clone(),
        mesh_version: env!("CARGO_PKG_VERSION").to_owned(),
        http3_support: false,
        endpoint: None,
        endpoints: Some(endpoints),
        metadata_version: 0,
        labels: node.labels.clone(),
        audit_key: audit_key.to_vec(),
        campaigns: config.mesh.leadership.enabled,
    };
    Presence::new(registry.clone(), settings, profile)
}

/// The registry of relays and agents.
fn aero_registry(registry: &Arc<Registry>, config: &Config) -> AeroRegistry {
    let settings = AeroRegistrySettings {
        relay_ttl: config.registry.relay_ttl.0,
        agent_ttl: config.registry.agent_ttl.0,
        relays_max: config.registry.relays_max,
        agents_max: config.registry.agents_max,
        grace: config.session_ttl(),
    };
    AeroRegistry::new(registry.clone(), settings, config.control.watches_max)
}

/// The campaigner, and the task in which it runs.
fn campaign(registry: &Arc<Registry>, config: &Config, metrics: &Metrics) -> (Arc<Campaigner>, JoinSet<()>) {
    let settings = campaign_settings(config);
    let campaigner = Arc::new(Campaigner::new(registry.clone(), settings, metrics.leadership()));
    let mut campaigning = JoinSet::new();
    let candidate = campaigner.clone();
    campaigning.spawn(async move { candidate.run().await });
    (campaigner, campaigning)
}

fn campaign_settings(config: &Config) -> CampaignSettings {
    let leadership = &config.mesh.leadership;
    CampaignSettings {
        enabled: leadership.enabled,
        evaluation_interval: leadership.evaluation_interval.0,
        election_backoff: leadership.election_backoff.0,
        max_election_window: leadership.max_election_window.0,
        entered: leadership.entered(),
        // Without chance they wait alike, which costs a refused commit now and then.
        seed: random_u64().unwrap_or(1),
    }
}

fn retention(config: &Config) -> Retention {
    let history = &config.history;
    Retention {
        log_age: history.age.0,
        log_entries_max: history.entries_max,
        tombstone_age: history.tombstone_age.0,
        idempotency_age: history.idempotency_age.0,
        idempotency_entries_max: history.idempotency_entries_max,
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.control.connections_max,
        per_address_max: per_address_max(
            config.control.connections_max,
            config.control.connections_per_address_max,
        ),
        grace: config.control.drain_grace.0,
        ..Limits::default()
    }
}

fn surface(
    spec: &NodeSpec,
    probed: Probed,
    services: Services,
    observer: Arc<Observer>,
) -> Result<Surface, SurfaceError> {
    let (config, registry) = (&spec.config, &probed.registry);
    let peers = Peers::new(registry.clone(), config.control.watches_max);
    let leaders = Leaders::new(registry.clone(), config.control.watches_max);
    let node = NodeObject {
        registry: registry.clone(),
        readiness: probed.readiness.clone(),
        cluster_id: config.node.cluster.clone(),
        started_at: started_at(),
        let_in: let_in(config),
    };
    let store = StoreCalls { registry: registry.clone() };
    let mut builder = Surface::builder([OMNIRELAY])
        .service(PeerControlServiceServer::new(peers).send_compressed(Gzip).accept_compressed(Gzip))
        .service(LeadershipControlServiceServer::new(leaders).send_compressed(Gzip).accept_compressed(Gzip))
        .service(
            AdvertisementServiceServer::new(services.advertisements)
                .send_compressed(Gzip)
                .accept_compressed(Gzip),
        )
        .service(AeroRegistryServer::new(services.aero).send_compressed(Gzip).accept_compressed(Gzip))
        .service(NodeServiceServer::new(node).send_compressed(Gzip).accept_compressed(Gzip))
        .service(StoreServiceServer::new(store).send_compressed(Gzip).accept_compressed(Gzip))
        .service(RegisterServiceServer::new(services.registers).send_compressed(Gzip).accept_compressed(Gzip))
        .service(AuditServiceServer::new(services.audit).send_compressed(Gzip).accept_compressed(Gzip))
        .service(
            OperationServiceServer::new(services.operations).send_compressed(Gzip).accept_compressed(Gzip),
        )
        .observer(observer)
        .routes(probes(probed));
    if let Some(relay) = &services.relay {
        builder = relay.asked(builder);
    }
    if let Some(process) = &spec.process {
        builder = builder.service(DevServiceServer::new(Dev { process: process.clone() }));
    }
    let hosts = Hosts::loopback_and(config.control.hosts.clone());
    let tokens = spec.access.tokens.clone();
    builder = match let_in(config) {
        LetIn::Anyone => builder.authenticator(Proven::new(tokens, Insecure::default())).hosts(Hosts::any()),
        LetIn::Host => builder.authenticator(Proven::new(tokens, Loopback::default())).hosts(hosts),
        LetIn::Nobody => builder.authenticator(Proven::new(tokens, ProofNeeded)).hosts(hosts),
    };
    builder.build()
}

/// Who comes in at the control port without proof.
fn let_in(config: &Config) -> LetIn {
    match config.security.loopback {
        LoopbackTrust::Open if config.control.insecure => LetIn::Anyone,
        LoopbackTrust::Open => LetIn::Host,
        LoopbackTrust::Proof => LetIn::Nobody,
    }
}

/// By the wall clock, because the store has not been asked yet.
fn started_at() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis(omnirelay_core::time::whole_ms(since))
}

/// Feeds finished calls to the metrics, and refused ones to the audit trail.
struct Observer {
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
}

impl RequestObserver for Observer {
    fn finished(&self, call: &FinishedCall<'_>) {
        let code = format!("{:?}", call.code);
        self.metrics.count_call(call.method, &code, call.protocol.word(), call.duration);
        self.refusals.note(call);
    }
}
