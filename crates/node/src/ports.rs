//! The ports of a node by name, and their listeners.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use omnirelay_host::live::Live;
use omnirelay_identity::socket::ControlSocket;
use omnirelay_settings::{Config, RelayConfig};
use omnirelay_surface::{ListenerLimits, SurfaceBuilder};
use omnirelay_transport::outbound::outbound;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerEndpoints;
use serde::{Deserialize, Serialize};

use super::mesh_port::LatePort;
use super::port_tls::LiveTls;

/// A port that serves gRPC and HTTP/JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortName {
    /// Where operators and services call.
    Control,
    /// Where agents and relays connect.
    Relay,
    /// Where nodes call each other.
    Mesh,
}

impl PortName {
    pub const ALL: [Self; 3] = [Self::Control, Self::Relay, Self::Mesh];

    /// As metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Relay => "relay",
            Self::Mesh => "mesh",
        }
    }
}

/// State of a port: taken already, or to be taken later.
pub enum PortState {
    /// It is, before anything starts.
    Taken(TcpListener),
    /// Once the node is somebody.
    Late(LatePort),
}

/// A port that is about to be served.
pub struct ServedPort {
    pub listens: PortState,
    /// The socket for users of this host, which serves the same.
    pub socket: Option<ControlSocket>,
    /// The same port for UDP, where it is served over HTTP/3 too.
    pub udp: Option<UdpSocket>,
    /// What connections begin under; `None`: no TLS.
    pub tls: LiveTls,
    pub limits: Live<ListenerLimits>,
    pub surface: SurfaceBuilder,
}

/// Addresses where a node listens.
#[derive(Clone, Copy, Debug)]
pub struct NodeAddresses {
    pub control: SocketAddr,
    /// The address of this host that others are told: where the control port is bound, or where that is all of them, the one by
    /// which this host goes out.
    pub host: IpAddr,
    /// `None` while neither the relay nor the registry of relays is switched on.
    pub relay: Option<RelayAddresses>,
}

impl NodeAddresses {
    pub fn new(control: SocketAddr, relay: Option<RelayAddresses>) -> Self {
        let host = if control.ip().is_unspecified() { outbound(control.ip()) } else { control.ip() };
        Self { control, host, relay }
    }

    /// Endpoints where others reach the node: at the host that `mesh.advertise` names, where there is one. `relay` is
    /// the address that the relay is told by.
    pub fn endpoints(&self, advertise: Option<&str>, relay: Option<String>) -> PeerEndpoints {
        let host = advertise.and_then(|address| address.rsplit_once(':')).map(|(host, _)| host);
        let port = self.control.port();
        let own = || SocketAddr::new(self.host, port).to_string();
        let control = host.map_or_else(own, |host| format!("{host}:{port}"));
        PeerEndpoints { control: Some(control), mesh: None, relay, unknown_fields: Default::default() }
    }

    /// Obstacle that keeps others from reaching the control port; `None`: there is none that is known here.
    pub fn trouble(&self, advertise: Option<&str>) -> Option<String> {
        let is_known = advertise.is_some() || !self.control.ip().is_unspecified() || !self.host.is_loopback();
        (!is_known).then(|| {
            format!(
                "this host has no route to others, so they are told that this node, which listens at {}, is at {}; set mesh.advertise",
                self.control, self.host
            )
        })
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

/// Addresses of the ports of the relay.
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

    /// Addresses where the ports listen.
    ///
    /// # Errors
    /// Those of the system.
    pub fn addresses(&self) -> io::Result<RelayAddresses> {
        Ok(RelayAddresses { grpc: self.grpc.local_addr()?, http: self.http.local_addr()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_an_address_at_which_they_reach_the_node() {
        let cases = [
            // what               listens at         advertise                  told                  is trouble
            ("one address", "10.0.0.1:17420", None, "10.0.0.1:17420", false),
            ("all, and a name", "0.0.0.0:17420", Some("eu-1.example:17421"), "eu-1.example:17420", false),
            ("all of IPv6", "[::]:17420", Some("[fd00::1]:17421"), "[fd00::1]:17420", false),
            ("one, and a name", "10.0.0.1:17420", Some("eu-1.example:17421"), "eu-1.example:17420", false),
            ("all, by the route to others", "0.0.0.0:17420", None, "10.0.0.9:17420", false),
            ("all of IPv6", "[::]:17420", None, "[fd00::9]:17420", false),
            ("all, without a route", "0.0.0.0:17420", None, "127.0.0.1:17420", true),
            ("loopback alone", "127.0.0.1:17420", None, "127.0.0.1:17420", false),
        ];
        for (what, control, advertise, told, is_trouble) in cases {
            let (control, host) = (control.parse().unwrap(), told.parse().map(|told: SocketAddr| told.ip()));
            let addresses = NodeAddresses {
                host: host.unwrap_or([10, 0, 0, 9].into()),
                ..NodeAddresses::new(control, None)
            };
            assert_eq!(addresses.endpoints(advertise, None).control.as_deref(), Some(told), "{what}");
            assert_eq!(addresses.trouble(advertise).is_some(), is_trouble, "{what}");
        }
    }
}
