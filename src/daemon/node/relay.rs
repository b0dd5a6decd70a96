//! The ports of a relay and of a registry of relays: gRPC for agents and relays, HTTP for whoever watches them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_server::AgentGatewayServer;
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use omnirelay_wire::pb::aeroarc::relay::v1::relay_control_server::RelayControlServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::ReadinessItem;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::probes::{Probed, relay_probes};
use super::serving::{Serving, asynchronous, per_address_max};
use super::{NodeError, NodeSpec, Observer};
use crate::daemon::config::{Config, LoopbackTrust, RelayConfig, RelayTlsConfig};
use crate::daemon::metrics::Metrics;
use crate::daemon::objects::aero_registry::AeroRegistry;
use crate::daemon::readiness::item;
use crate::daemon::registry::Registry;
use crate::daemon::relay::assembly::Relay;
use crate::daemon::relay::control::Control;
use crate::daemon::relay::gateway::Gateway;
use crate::daemon::relay::http::serve_probes;
use crate::daemon::relay::identity::{advertised, relay_id};
use crate::daemon::relay::report::{OtherRegistry, OwnRegistry, RelayRegistry, Reports};
use crate::daemon::surface::{
    HostAndAgents, Hosts, Limits, OMNIRELAY, Surface, SurfaceBuilder, SurfaceError, Tls,
};

/// How much of a stream an agent may send before it is read, in bytes: a second of much telemetry on a far link.
const RECEIVE_BYTES_MAX: u32 = 256 * 1024;

/// The ports, taken before anything starts.
pub struct RelayListeners {
    pub grpc: TcpListener,
    pub http: TcpListener,
}

/// Where the ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayAddresses {
    /// Where agents and relays connect.
    pub grpc: SocketAddr,
    /// Where metrics and health are served.
    pub http: SocketAddr,
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}; choose another address with {flag}")]
pub struct PortTaken {
    pub address: SocketAddr,
    pub flag: &'static str,
    error: io::Error,
}

impl RelayListeners {
    /// Takes both ports.
    ///
    /// # Errors
    /// [`PortTaken`] for the first that cannot be had; none is taken then.
    pub fn bind(addresses: RelayAddresses) -> Result<Self, PortTaken> {
        let bind =
            |address, flag| TcpListener::bind(address).map_err(|error| PortTaken { address, flag, error });
        Ok(Self {
            grpc: bind(addresses.grpc, "--relay-listen")?,
            http: bind(addresses.http, "--relay-http-listen")?,
        })
    }

    /// Takes the ports that are configured; `None` where no service needs them.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn of(config: &Config) -> Result<Option<Self>, PortTaken> {
        let RelayConfig { listen, http_listen, .. } = config.relay;
        let needed = config.serves(RELAY_SERVICE) || config.serves(REGISTRY_SERVICE);
        needed.then(|| Self::bind(RelayAddresses { grpc: listen, http: http_listen })).transpose()
    }

    /// Where they are.
    ///
    /// # Errors
    /// Those of the system.
    pub fn addresses(&self) -> io::Result<RelayAddresses> {
        Ok(RelayAddresses { grpc: self.grpc.local_addr()?, http: self.http.local_addr()? })
    }
}

/// Starts the relay, where it is switched on.
pub(super) fn start(
    spec: &NodeSpec,
    bound: SocketAddr,
    registry: &Arc<Registry>,
    aero: &AeroRegistry,
    metrics: &Metrics,
) -> Result<Option<Relay>, NodeError> {
    let config = &spec.config.relay;
    if !spec.config.serves(RELAY_SERVICE) {
        return Ok(None);
    }
    let told: Arc<dyn RelayRegistry> = match &config.registry.address {
        Some(address) => {
            let timeout = config.registry.request_timeout.0;
            let other = if address.starts_with("https://") {
                OtherRegistry::under_tls(address, timeout, config.registry.ca.as_deref())
            } else {
                OtherRegistry::new(address, timeout)
            };
            Arc::new(other.map_err(NodeError::RelayRegistry)?)
        }
        None => Arc::new(OwnRegistry::new(Arc::new(aero.clone()))),
    };
    let (address, port) = advertised(config, bound);
    let relay = pb::Relay {
        relay_id: relay_id(config),
        address,
        grpc_port: port.into(),
        tls: config.tls.cert.is_some(),
        ..pb::Relay::default()
    };
    let reports = Arc::new(Reports::new(relay, &config.registry, told, config.sessions_max));
    Ok(Some(Relay::start(config, &spec.telemetry, registry.clone(), reports, metrics)?))
}

/// The service that takes telemetry.
const RELAY_SERVICE: &str = "relay";
/// The service that knows relays and agents.
const REGISTRY_SERVICE: &str = "registry";

/// What the ports serve.
#[derive(Clone)]
pub(super) struct RelayServices {
    /// Where telemetry is taken.
    relaying: Option<Relaying>,
    /// Where others may register.
    registry: Option<AeroRegistry>,
}

/// What a relay serves, and what is wrong with it.
#[derive(Clone)]
struct Relaying {
    gateway: Gateway,
    control: Control,
    sinks: Trouble,
    /// Whether telemetry can be acknowledged.
    acknowledges: Arc<dyn Fn() -> bool + Send + Sync>,
    /// `None` where nothing is published.
    published: Option<Trouble>,
    /// `None` where no registry is told.
    registry: Option<Trouble>,
}

/// Says what is wrong, if something is.
type Trouble = Arc<dyn Fn() -> Option<String> + Send + Sync>;

impl RelayServices {
    /// The services that are switched on.
    pub(super) fn new(config: &Config, relay: Option<&Relay>, registry: &AeroRegistry) -> Self {
        let relaying = relay.map(|relay| Relaying {
            gateway: relay.gateway(),
            control: relay.control(),
            sinks: Arc::new(relay.sink_trouble()),
            acknowledges: Arc::new(relay.acknowledges()),
            published: relay.publish_trouble().map(|trouble| Arc::new(trouble) as Trouble),
            registry: relay.registry_trouble().map(|trouble| Arc::new(trouble) as Trouble),
        });
        Self { relaying, registry: config.serves(REGISTRY_SERVICE).then(|| registry.clone()) }
    }

    /// Adds what operators and services ask of the relay: on every port.
    pub(super) fn asked(&self, builder: SurfaceBuilder) -> SurfaceBuilder {
        match &self.relaying {
            Some(relaying) => builder.service(RelayControlServer::new(relaying.control.clone())),
            None => builder,
        }
    }

    /// Adds what agents and relays call: on the relay's port only.
    fn connected(&self, builder: SurfaceBuilder) -> SurfaceBuilder {
        let builder = match &self.relaying {
            Some(relaying) => builder.service(AgentGatewayServer::new(relaying.gateway.clone())),
            None => builder,
        };
        match &self.registry {
            Some(registry) => {
                builder.service(pb::aero_registry_server::AeroRegistryServer::new(registry.clone()))
            }
            None => builder,
        }
    }

    /// What the services need, for the control port.
    pub(super) fn readiness(&self) -> Vec<ReadinessItem> {
        let Some(relaying) = &self.relaying else { return Vec::new() };
        let published = relaying.published.as_ref().map(|trouble| item("publication", false, trouble()));
        let registry = relaying.registry.as_ref().map(|trouble| item("registry", false, trouble()));
        std::iter::once(item("sinks", false, (relaying.sinks)())).chain(published).chain(registry).collect()
    }

    /// A sink that nobody waits for is no reason to send agents elsewhere.
    fn is_up(&self) -> bool {
        self.relaying.iter().all(|relaying| (relaying.acknowledges)())
    }
}

/// Both ports at work. Dropping it ends them as a crash would.
pub(super) struct RelayPorts {
    addresses: RelayAddresses,
    serving: Serving,
    /// Ended when it is dropped.
    tasks: JoinSet<()>,
}

impl RelayPorts {
    pub(super) fn start(
        listeners: RelayListeners,
        config: &Config,
        services: &RelayServices,
        probed: Probed,
        observer: Arc<Observer>,
    ) -> Result<Self, NodeError> {
        let addresses = listeners.addresses().map_err(NodeError::Listen)?;
        // Where being on this host is no proof, it is none on this port either.
        let trust_local = config.relay.trust_local && config.security.loopback == LoopbackTrust::Open;
        let surface = relay_surface(services, trust_local, observer)?;
        let tls = tls(&config.relay.tls)?;
        let http = asynchronous(listeners.http)?;
        let mut tasks = JoinSet::new();
        let up = services.clone();
        tasks.spawn(serve_probes(http, relay_probes(probed, move || up.is_up())));
        if let Some(tls) = &tls {
            tasks.spawn(tls.clone().keep());
        }
        let serving = Serving::begin(&mut tasks, listeners.grpc, tls, surface, limits(config))?;
        Ok(Self { addresses, serving, tasks })
    }

    pub(super) fn addresses(&self) -> RelayAddresses {
        self.addresses
    }

    /// Takes no more connections, ends streams once what is due on them was said, and lets calls finish.
    pub(super) async fn drain(&mut self) {
        self.serving.stop().await;
    }

    /// Ends what is left, last of all: until then probes are answered.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The address that the peer record tells of the relay.
pub(super) fn endpoint(config: &RelayConfig, bound: SocketAddr) -> String {
    let (host, port) = advertised(config, bound);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn relay_surface(
    services: &RelayServices,
    trust_local: bool,
    observer: Arc<Observer>,
) -> Result<Surface, SurfaceError> {
    let builder = Surface::builder([OMNIRELAY])
        .authenticator(HostAndAgents::new(trust_local))
        .hosts(Hosts::any())
        .observer(observer);
    services.connected(services.asked(builder)).build()
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.relay.connections_max,
        per_address_max: per_address_max(
            config.relay.connections_max,
            config.relay.connections_per_address_max,
        ),
        grace: config.control.drain_grace.0,
        receive_bytes_max: RECEIVE_BYTES_MAX,
        ..Limits::default()
    }
}

fn tls(config: &RelayTlsConfig) -> Result<Option<Arc<Tls>>, NodeError> {
    match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => Ok(Some(Arc::new(Tls::open(cert, key)?))),
        // One without the other was refused with the configuration.
        (_, _) => Ok(None),
    }
}
