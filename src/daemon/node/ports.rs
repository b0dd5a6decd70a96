//! The ports of a node by name, and their listeners.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerEndpoints;
use serde::{Deserialize, Serialize};

use crate::daemon::config::{Config, RelayConfig};
use crate::daemon::identity::socket::ControlSocket;
use crate::daemon::identity::tls::Tls;
use crate::daemon::surface::{Limits, SurfaceBuilder};

/// A port that serves gRPC and HTTP/JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortName {
    /// Where operators and services call.
    Control,
    /// Where agents and relays connect.
    Relay,
}

impl PortName {
    /// As metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Relay => "relay",
        }
    }
}

/// A port that is about to be served.
pub struct Port {
    pub listener: TcpListener,
    /// The socket for users of this host, which serves the same.
    pub socket: Option<ControlSocket>,
    pub tls: Option<Arc<Tls>>,
    pub limits: Limits,
    pub surface: SurfaceBuilder,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub control: SocketAddr,
    /// `None` while neither the relay nor the registry of relays is switched on.
    pub relay: Option<RelayAddresses>,
}

impl Addresses {
    /// Where others reach the node; `relay` is the address that the relay is told by.
    pub fn endpoints(&self, relay: Option<String>) -> PeerEndpoints {
        PeerEndpoints { control: Some(self.control.to_string()), mesh: None, relay }
    }
}

/// The service that takes telemetry, as the configuration calls it.
pub const RELAY_SERVICE: &str = "relay";
/// The service that knows relays and agents.
pub const RELAY_REGISTRY_SERVICE: &str = "registry";

/// The ports of the relay, taken before anything starts.
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
        let needed = config.serves(RELAY_SERVICE) || config.serves(RELAY_REGISTRY_SERVICE);
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
