//! The registry that is told: the one of this process, or another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_host::wall_clock;
use omnirelay_identity::client::{ExpectedServers, LiveTlsClient};
use omnirelay_identity::connector::LiveTlsConnector;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_settings::{ClientTlsConfig, RelayRegistryConfig};
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::ToldRegistry;
use super::heartbeats::HeartbeatStream;
use pb::aero_registry_client::AeroRegistryClient;
use pb::aero_registry_server::AeroRegistry;

/// How often a connection is asked whether it lives, and how long it may take to say so.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Client that tells a registry of a relay and its agents. Each call may be repeated, and broken off at any time.
///
/// All fail with the registry's status: `NOT_FOUND` when it does not know the relay or the agent,
/// `FAILED_PRECONDITION` when another relay holds the agent.
#[async_trait]
pub trait RegistryClient: Send + Sync + 'static {
    /// The relay lives, and where it is.
    async fn register_relay(&self, relay: &pb::Relay) -> Result<(), Status>;
    /// The relay lives.
    async fn heartbeat_relay(&self, relay_id: &str) -> Result<(), Status>;
    /// The relay holds the agent, and no other does any more.
    async fn register_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status>;
    /// The agent that this relay holds lives.
    async fn heartbeat_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status>;
}

/// Address of the registry that a relay tells, and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryAddress {
    /// `None`: it is the one of this process.
    address: Option<String>,
    tls: ClientTlsConfig,
    timeout: Duration,
}

impl RegistryAddress {
    pub fn of(config: &RelayRegistryConfig) -> Self {
        let RelayRegistryConfig { address, request_timeout, .. } = config;
        Self { address: address.clone(), tls: config.client_tls(), timeout: request_timeout.0 }
    }

    /// Checks that it is one, as far as that can be said without connecting.
    ///
    /// # Errors
    /// When the address is none.
    pub fn check(&self) -> Result<(), tonic::transport::Error> {
        self.address.as_ref().map_or(Ok(()), |address| endpoint(address, self.timeout).map(drop))
    }

    /// The registry there, or `own`. Connects with the first call. Must be called inside a runtime.
    ///
    /// # Errors
    /// As of [`Self::check`].
    pub fn connect<S: AeroRegistry>(
        &self,
        own: &Arc<S>,
        trust: &Arc<MeshTrust>,
    ) -> Result<ToldRegistry, tonic::transport::Error> {
        let client: Arc<dyn RegistryClient> = match &self.address {
            None => Arc::new(OwnRegistry::new(own.clone())),
            Some(address) if address.starts_with("https://") => {
                let tls = self.tls.client(ExpectedServers::Nodes, trust);
                Arc::new(OtherRegistry::under_tls(address, self.timeout, tls)?)
            }
            Some(address) => Arc::new(OtherRegistry::new(address, self.timeout)?),
        };
        Ok(ToldRegistry { address: self.address.clone(), client })
    }
}

/// The registry of this process, called without a connection.
pub struct OwnRegistry<S> {
    service: Arc<S>,
}

impl<S> OwnRegistry<S> {
    /// Calls a service as nobody in particular: its calls have no caller.
    pub fn new(service: Arc<S>) -> Self {
        Self { service }
    }
}

#[async_trait]
impl<S: AeroRegistry> RegistryClient for OwnRegistry<S> {
    async fn register_relay(&self, relay: &pb::Relay) -> Result<(), Status> {
        self.service.register_relay(Request::new(register_relay(relay))).await.map(drop)
    }

    async fn heartbeat_relay(&self, relay_id: &str) -> Result<(), Status> {
        self.service.heartbeat_relay(Request::new(heartbeat_relay(relay_id))).await.map(drop)
    }

    async fn register_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.service.register_agent(Request::new(register_agent(agent_id, relay_id))).await.map(drop)
    }

    async fn heartbeat_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.service.heartbeat_agent(Request::new(heartbeat_agent(agent_id, relay_id))).await.map(drop)
    }
}

/// A registry elsewhere. All calls share one connection, which is made when it is needed, and the heartbeats of agents
/// one stream on it, if the registry has such.
pub struct OtherRegistry {
    client: AeroRegistryClient<Channel>,
    heartbeats: HeartbeatStream,
}

impl OtherRegistry {
    /// The registry at `http://HOST:PORT`, which has `timeout` to answer. Connects with the first call. Must be
    /// called inside a runtime.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(address: &str, timeout: Duration) -> Result<Self, tonic::transport::Error> {
        Ok(Self::on(endpoint(address, timeout)?.connect_lazy()))
    }

    /// The same at `https://HOST:PORT`, as this client has it.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub fn under_tls(
        address: &str,
        timeout: Duration,
        tls: Arc<LiveTlsClient>,
    ) -> Result<Self, tonic::transport::Error> {
        let channel =
            endpoint(address, timeout)?.connect_with_connector_lazy(LiveTlsConnector::new(tls, timeout));
        Ok(Self::on(channel))
    }

    fn on(channel: Channel) -> Self {
        let client = AeroRegistryClient::new(channel);
        Self { heartbeats: HeartbeatStream::start(client.clone()), client }
    }
}

fn endpoint(address: &str, timeout: Duration) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(address.to_owned())?
        .connect_timeout(timeout)
        .timeout(timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

#[async_trait]
impl RegistryClient for OtherRegistry {
    async fn register_relay(&self, relay: &pb::Relay) -> Result<(), Status> {
        self.client.clone().register_relay(register_relay(relay)).await.map(drop)
    }

    async fn heartbeat_relay(&self, relay_id: &str) -> Result<(), Status> {
        self.client.clone().heartbeat_relay(heartbeat_relay(relay_id)).await.map(drop)
    }

    async fn register_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.client.clone().register_agent(register_agent(agent_id, relay_id)).await.map(drop)
    }

    async fn heartbeat_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        if let Some(heard) = self.heartbeats.say(agent_id, relay_id).await {
            return heard;
        }
        self.client.clone().heartbeat_agent(heartbeat_agent(agent_id, relay_id)).await.map(drop)
    }
}

fn register_relay(relay: &pb::Relay) -> pb::RegisterRelayRequest {
    let relay = pb::Relay { last_heartbeat_unix_ms: unix_ms(), ..relay.clone() };
    pb::RegisterRelayRequest { relay: Some(relay) }
}

fn heartbeat_relay(relay_id: &str) -> pb::HeartbeatRelayRequest {
    pb::HeartbeatRelayRequest { relay_id: relay_id.to_owned(), timestamp_unix_ms: unix_ms() }
}

fn register_agent(agent_id: &str, relay_id: &str) -> pb::RegisterAgentRequest {
    let agent = pb::Agent {
        agent_id: agent_id.to_owned(),
        last_heartbeat_unix_ms: unix_ms(),
        ..pb::Agent::default()
    };
    pb::RegisterAgentRequest { agent: Some(agent), relay_id: relay_id.to_owned() }
}

fn heartbeat_agent(agent_id: &str, relay_id: &str) -> pb::HeartbeatAgentRequest {
    pb::HeartbeatAgentRequest {
        agent_id: agent_id.to_owned(),
        timestamp_unix_ms: unix_ms(),
        relay_id: relay_id.to_owned(),
    }
}

/// The time of this host, which registries do not go by.
fn unix_ms() -> i64 {
    i64::try_from(wall_clock::unix().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "registry_tls_test.rs"]
mod tls_tests;
