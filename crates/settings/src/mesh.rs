//! The mesh: where it listens, whom it joins, and how leaders are elected in it.

use std::net::SocketAddr;

use omnirelay_identity::pins::{CertificatePin, CertificatePins};
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section, is_host_and_port};
use super::{Config, GossipConfig, LeadershipConfig, ShardingConfig};

/// How many certificates can be pinned.
const PINS_MAX: usize = 64;

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
    /// Fingerprints of certificates, as the SHA-256 of their DER in hex: who is believed leads through one of them, be it the
    /// node's own, an issuer or a root, or is not spoken with at the mesh port. At most 64, default none: who is believed is
    /// spoken with.
    pub pinned_certificates: Vec<CertificatePin>,
    /// Other nodes to join, each `host:port`.
    pub seeds: Vec<String>,
    pub leadership: LeadershipConfig,
    pub gossip: GossipConfig,
    pub shards: ShardingConfig,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 17421)),
            advertise: None,
            http3_support: true,
            pinned_certificates: Vec::new(),
            seeds: Vec::new(),
            leadership: LeadershipConfig::default(),
            gossip: GossipConfig::default(),
            shards: ShardingConfig::default(),
        }
    }
}

impl MeshConfig {
    pub fn pins(&self) -> CertificatePins {
        self.pinned_certificates.iter().cloned().collect()
    }
}

impl Section for MeshConfig {
    fn check(&self, all: &Config) -> Result<(), InvalidSetting> {
        let joined = self.seeds.iter().map(|seed| ("mesh.seeds", seed));
        let mut addresses = joined.chain(self.advertise.iter().map(|address| ("mesh.advertise", address)));
        if let Some((key, address)) = addresses.find(|(_, address)| !is_host_and_port(address)) {
            return Err((key, format!("`{address}` is no address; write HOST:PORT or [IPV6]:PORT")));
        }
        if self.pinned_certificates.len() > PINS_MAX {
            let what = format!(
                "{} are more than {PINS_MAX}; pin an issuer or a root",
                self.pinned_certificates.len()
            );
            return Err(("mesh.pinnedCertificates", what));
        }
        self.gossip.check(all)?;
        self.shards.check()?;
        self.leadership.check(all)
    }
}
