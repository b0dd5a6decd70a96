//! The ports of a relay and of a registry of relays: gRPC for agents and relays, HTTP for whoever watches them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::probes::{Probed, relay_probes};
use super::{NodeError, Observer};
use crate::daemon::config::{Config, RelayConfig, RelayTlsConfig};
use crate::daemon::readiness::item;
use crate::daemon::relay::http::serve_probes;
use crate::daemon::relay::identity::advertised;
use crate::daemon::surface::{
    Drained, HostAndAgents, Hosts, Limits, OMNIRELAY, Surface, SurfaceBuilder, SurfaceError, Tls, serve_with,
};
use crate::wire::pb::omnirelay::mesh::control::v1::ReadinessItem;

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
        let needed = config.serves(RELAY) || config.serves(REGISTRY);
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

/// The service that takes telemetry.
pub const RELAY: &str = "relay";
/// The service that knows relays and agents.
pub const REGISTRY: &str = "registry";

/// What the ports serve.
#[derive(Clone)]
pub(super) struct RelayServices {
    /// Whether telemetry can go where it should; `None` where none is taken.
    sinks: Option<Trouble>,
}

/// Says what is wrong, if something is.
type Trouble = Arc<dyn Fn() -> Option<String> + Send + Sync>;

impl RelayServices {
    /// Makes the services that are switched on.
    pub(super) fn new(config: &Config) -> Self {
        let sinks = config.serves(RELAY).then(|| Arc::new(|| None) as Trouble);
        Self { sinks }
    }

    /// Adds what operators and services ask: on every port.
    pub(super) fn asked(&self, builder: SurfaceBuilder) -> SurfaceBuilder {
        builder
    }

    /// Adds what agents call: on the relay's port only.
    fn connected(&self, builder: SurfaceBuilder) -> SurfaceBuilder {
        builder
    }

    /// What the services need, for the control port.
    pub(super) fn readiness(&self) -> Vec<ReadinessItem> {
        self.sinks.iter().map(|trouble| item("sinks", false, trouble())).collect()
    }

    fn is_up(&self) -> bool {
        self.sinks.iter().all(|trouble| trouble().is_none())
    }
}

/// Both ports at work. Dropping it ends them as a crash would.
pub(super) struct RelayPorts {
    addresses: RelayAddresses,
    stop_serving: Option<oneshot::Sender<()>>,
    served: watch::Receiver<Option<Drained>>,
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
        let surface = relay_surface(services, observer)?;
        let tls = tls(&config.relay.tls)?;
        let (grpc, http) = (asynchronous(listeners.grpc)?, asynchronous(listeners.http)?);
        let mut tasks = JoinSet::new();
        let up = services.clone();
        tasks.spawn(serve_probes(http, relay_probes(probed, move || up.is_up())));
        if let Some(tls) = &tls {
            tasks.spawn(tls.clone().keep());
        }
        let (stop_serving, stopped) = oneshot::channel();
        let (say_served, served) = watch::channel(None);
        let limits = limits(config);
        tasks.spawn(async move {
            // A dropped sender means the node is being dropped, and this task with it.
            let stop = async { drop(stopped.await) };
            let drained = serve_with(grpc, tls, surface, limits, stop).await;
            say_served.send_replace(Some(drained));
        });
        Ok(Self { addresses, stop_serving: Some(stop_serving), served, tasks })
    }

    pub(super) fn addresses(&self) -> RelayAddresses {
        self.addresses
    }

    /// Takes no more connections, ends streams once what is due on them was said, and lets calls finish.
    pub(super) async fn drain(&mut self) {
        if let Some(stop) = self.stop_serving.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        let drained = self.served.wait_for(Option::is_some).await.map_or(None, |drained| *drained);
        if let Some(Drained { cut }) = drained
            && cut > 0
        {
            tracing::warn!(cut, "connections of agents were cut at the end of the grace period");
        }
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

fn relay_surface(services: &RelayServices, observer: Arc<Observer>) -> Result<Surface, SurfaceError> {
    let builder = Surface::builder([OMNIRELAY])
        .authenticator(HostAndAgents::default())
        .hosts(Hosts::any())
        .observer(observer);
    services.connected(services.asked(builder)).build()
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.relay.connections_max,
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

fn asynchronous(listener: TcpListener) -> Result<tokio::net::TcpListener, NodeError> {
    listener.set_nonblocking(true).map_err(NodeError::Listen)?;
    tokio::net::TcpListener::from_std(listener).map_err(NodeError::Listen)
}
