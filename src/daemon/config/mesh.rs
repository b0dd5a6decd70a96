//! The mesh: where it listens, whom it joins, and how leaders are elected in it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::check::{Invalid, Section, is_host_and_port};
use super::{Config, LeadershipConfig};

/// The port of the mesh; bound once the node has an identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MeshConfig {
    /// Where the mesh listens.
    pub listen: SocketAddr,
    /// The address other nodes reach it at; default the listen address. Its host is told as that of the control port too.
    pub advertise: Option<String>,
    /// Whether it is served over UDP too, for HTTP/3.
    pub http3_support: bool,
    /// Other nodes to join, each `host:port`.
    pub seeds: Vec<String>,
    pub leadership: LeadershipConfig,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 17421)),
            advertise: None,
            http3_support: true,
            seeds: Vec::new(),
            leadership: LeadershipConfig::default(),
        }
    }
}

impl Section for MeshConfig {
    fn check(&self, all: &Config) -> Result<(), Invalid> {
        let joined = self.seeds.iter().map(|seed| ("mesh.seeds", seed));
        let mut addresses = joined.chain(self.advertise.iter().map(|address| ("mesh.advertise", address)));
        if let Some((key, address)) = addresses.find(|(_, address)| !is_host_and_port(address)) {
            return Err((key, format!("`{address}` is no address; write HOST:PORT or [IPV6]:PORT")));
        }
        self.leadership.check(all)
    }
}
