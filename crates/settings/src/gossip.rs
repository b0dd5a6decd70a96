//! Membership by gossip: how members probe each other, pass on news, and judge.

use std::path::PathBuf;
use std::time::Duration;

use omnirelay_core::labels::Labels;
use serde::{Deserialize, Serialize};

use super::Config;
use super::check::{InvalidSetting, Section};
use omnirelay_host::duration::HumanDuration;

/// How many times as long a suspect has whom nobody else accuses as one whom many do.
const SUSPICION_MAX: u32 = 6;
/// How long what a node says of itself may be, so that it fits into a record with all else that stands there.
pub const SAID_BYTES_MAX: usize = 330;
/// The longest socket address, which is told where `mesh.advertise` is not set.
const ADDRESS_BYTES_MAX: usize = 47;
/// The largest counts that can be set.
const FANOUT_MAX: usize = 32;
const RETRANSMIT_MAX: u32 = 32;

/// Membership by gossip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GossipConfig {
    /// Whether this node gossips: without it nobody knows its health, and it knows nobody's.
    pub enabled: bool,
    /// To how many members news is passed on each time, 1 to 32.
    pub fanout: usize,
    /// From one probe to the next, `100ms` to `1m`; a probe may take as long, or half as long again as `pingTimeout`.
    pub interval: HumanDuration,
    /// How long a suspect has to answer whom nobody else accuses, in a mesh of up to ten members; a sixth of that once many do.
    /// Longer in larger meshes, by the logarithm of how many there are. `600ms` to `10m`.
    pub suspicion_interval: HumanDuration,
    /// How long an answer to a ping may take before others are asked and a stream is tried, `10ms` to `1m`.
    pub ping_timeout: HumanDuration,
    /// How often a member passes on one change, times the logarithm of how many members there are, 1 to 32.
    pub retransmit_limit: u32,
    /// How often what this node says of itself is looked at anew, `1s` to `1h`.
    pub metadata_refresh_period: HumanDuration,
    /// Whether `mesh_gossip_rtt_ms` has series for each peer, of up to 256, and not one of all.
    pub rtt_per_peer: bool,
    // Other names, which are never there once a configuration was read: see `aliases`.
    /// Another name of `node.id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Another name of `node.role`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Another name of `node.cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Another name of `node.region`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Ignored: nodes tell the version that they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_version: Option<String>,
    /// The port of `mesh.listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The host of `mesh.listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_address: Option<String>,
    /// The host of `mesh.advertise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise_host: Option<String>,
    /// The port of `mesh.advertise`; default that of `mesh.listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise_port: Option<u16>,
    /// Another name of `mesh.seeds`; URLs are taken too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_peers: Option<Vec<String>>,
    /// Another name of `node.labels`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Other names of what is under `security.identity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<GossipTlsConfig>,
}

/// Other names of who the node is, and whom it believes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GossipTlsConfig {
    /// Another name of `security.identity.pkcs12`, whose source is `files` then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_path: Option<PathBuf>,
    /// Refused: a password stands in a file, `security.identity.passwordFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_password: Option<String>,
    /// True, or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_certificate_revocation: Option<bool>,
    /// Another name of `mesh.pinnedCertificates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_thumbprints: Option<Vec<String>>,
}

impl Default for GossipConfig {
    fn default() -> Self {
        let of = omnirelay_membership::Config::default();
        Self {
            enabled: true,
            fanout: of.fanout,
            interval: HumanDuration(of.interval),
            suspicion_interval: HumanDuration(of.suspicion * of.suspicion_max),
            ping_timeout: HumanDuration(of.ping_timeout),
            retransmit_limit: of.retransmit,
            metadata_refresh_period: HumanDuration(Duration::from_secs(30)),
            rtt_per_peer: false,
            node_id: None,
            role: None,
            cluster_id: None,
            region: None,
            mesh_version: None,
            port: None,
            bind_address: None,
            advertise_host: None,
            advertise_port: None,
            seed_peers: None,
            labels: None,
            tls: None,
        }
    }
}

impl GossipConfig {
    /// As the membership takes it. The figures of decision 0039 are those of the defaults.
    pub fn membership(&self) -> omnirelay_membership::Config {
        let of = omnirelay_membership::Config::default();
        omnirelay_membership::Config {
            interval: self.interval.0,
            ping_timeout: self.ping_timeout.0,
            // News goes out five times in each round of probes.
            gossip_interval: self.interval.0 / 5,
            fanout: self.fanout,
            retransmit: self.retransmit_limit,
            suspicion: self.suspicion_interval.0 / SUSPICION_MAX,
            suspicion_max: SUSPICION_MAX,
            exchange_interval: of.exchange_interval.max(self.interval.0 * 10),
            ..of
        }
    }
}

impl Section for GossipConfig {
    fn check(&self, all: &Config) -> Result<(), InvalidSetting> {
        let Config { node, mesh, .. } = all;
        let said = [&node.role, &node.cluster, &node.region, &node.zone].map(String::len);
        let said =
            said.iter().sum::<usize>() + mesh.advertise.as_ref().map_or(ADDRESS_BYTES_MAX, String::len);
        if self.enabled && said > SAID_BYTES_MAX {
            let what = format!(
                "`node.role`, `node.cluster`, `node.region`, `node.zone` and `mesh.advertise` have {said} bytes together, and \
                 {SAID_BYTES_MAX} fit into what a node says of itself; shorten one"
            );
            return Err(("node", what));
        }
        let within = |key, span: HumanDuration, least: Duration, most: Duration| match (least..=most)
            .contains(&span.0)
        {
            true => Ok(()),
            false => Err((
                key,
                format!("{span} is not between {} and {}", HumanDuration(least), HumanDuration(most)),
            )),
        };
        let millis = Duration::from_millis;
        within("mesh.gossip.interval", self.interval, millis(100), millis(60_000))?;
        within("mesh.gossip.suspicionInterval", self.suspicion_interval, millis(600), millis(600_000))?;
        within("mesh.gossip.pingTimeout", self.ping_timeout, millis(10), millis(60_000))?;
        within(
            "mesh.gossip.metadataRefreshPeriod",
            self.metadata_refresh_period,
            millis(1_000),
            millis(3_600_000),
        )?;
        if !(1..=FANOUT_MAX).contains(&self.fanout) {
            return Err(("mesh.gossip.fanout", format!("{} is not between 1 and {FANOUT_MAX}", self.fanout)));
        }
        if !(1..=RETRANSMIT_MAX).contains(&self.retransmit_limit) {
            let what = format!("{} is not between 1 and {RETRANSMIT_MAX}", self.retransmit_limit);
            return Err(("mesh.gossip.retransmitLimit", what));
        }
        let checked = self.membership().check();
        checked.map_err(|what| ("mesh.gossip", what.to_owned()))
    }
}
