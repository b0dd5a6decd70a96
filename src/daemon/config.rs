//! The daemon's configuration: what can be set, its defaults and its limits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use omnirelay_core::labels::Labels;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod check;
mod foreign;
mod layers;
mod leadership;
mod lines;
mod origin;
mod registers;
mod relay;
mod relay_check;
mod security;
mod sinks;
mod store;

pub use foreign::is_foreign;
pub use layers::{ConfigError, Loaded, Source, load};
pub use leadership::{LeadershipConfig, ScopeConfig, ShardsConfig};
pub use registers::{PeerServiceError, RegistersConfig, peer_service};
pub use relay::{
    AcknowledgeWhen, AeroRegistryConfig, Backpressure, Compression, FileSinkConfig, HttpSinkConfig,
    PublishConfig, QueueConfig, RedisSinkConfig, RelayConfig, RelayRegistryConfig, RelayTlsConfig,
    SinksConfig, StdoutSinkConfig, TelemetryWire,
};
pub use security::{FileMode, LoopbackTrust, SecurityConfig};
pub use sinks::http_sink_url;
pub use store::{StoreConfig, StoreSentinelConfig, StoreTlsConfig};

use super::log::LogConfig;

/// A duration as people write it: `1s`, `250ms`, `1h 5m` or `00:00:05`; never a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Everything that can be set. Durations are written with their unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub node: NodeConfig,
    pub store: StoreConfig,
    pub control: ControlConfig,
    pub security: SecurityConfig,
    pub mesh: MeshConfig,
    pub relay: RelayConfig,
    pub registry: AeroRegistryConfig,
    pub session: SessionConfig,
    pub peers: PeersConfig,
    pub registers: RegistersConfig,
    pub history: HistoryConfig,
    pub audit: AuditConfig,
    pub log: LogConfig,
}

/// What the node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeConfig {
    /// Unique in the mesh; default: the host name and four hex digits, kept in the data directory.
    pub id: Option<String>,
    /// What it is for: `gateway`, `worker`, `control`, ...
    pub role: String,
    pub cluster: String,
    pub region: String,
    pub zone: String,
    /// Services to switch on: `relay`, `registry`.
    pub services: Vec<String>,
    /// Labels it begins with; what operators set later wins.
    pub labels: Labels,
    /// Where it keeps what must survive a restart. Locked by the process.
    pub data_dir: Option<PathBuf>,
}

/// The port of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Where the API listens. Beyond loopback it needs `insecure` until TLS is configured.
    pub listen: SocketAddr,
    /// Serves without authentication on any address: whoever reaches the port may do anything.
    pub insecure: bool,
    /// A unix socket beside the port, an absolute path of at most 107 bytes: whoever can open it may do anything, under
    /// the name of its user.
    pub socket: Option<PathBuf>,
    /// Who can open it: `0600`, this daemon's user and root; `0660`, its group as well.
    pub socket_mode: FileMode,
    /// The group that it is given to, by name or number; default that of the process.
    pub socket_group: Option<String>,
    /// Further `Host` names that are served on loopback.
    pub hosts: Vec<String>,
    /// 1 to 100000. Too low: clients are refused; too high: memory at 30 kB each.
    pub connections_max: usize,
    /// How many of them one address may have that is not of the loopback interface, 1 to 100000; default a quarter.
    /// Too low: clients behind one gateway are refused; too high: one host keeps all others out.
    pub connections_per_address_max: Option<usize>,
    /// 1 to 100000 open watches per object.
    pub watches_max: usize,
    /// How long running calls may take to end when the daemon stops. Too low: they are cut off.
    pub drain_grace: Span,
}

/// The port of the mesh; bound once the node has an identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MeshConfig {
    /// Where the mesh listens.
    pub listen: SocketAddr,
    /// The address other nodes reach it at; default the listen address.
    pub advertise: Option<String>,
    /// Other nodes to join, each `host:port`.
    pub seeds: Vec<String>,
    pub leadership: LeadershipConfig,
}

/// The session that carries a node's presence and leases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SessionConfig {
    /// 500 ms to 10 min. Too low: a busy machine loses its session; too high: a crash is noticed late.
    pub ttl: Span,
    /// How often it is renewed; at most half of `ttl`. Too low: needless work in the store.
    pub renew_every: Span,
}

/// How peers are judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PeersConfig {
    /// How long a peer is silent before it is dead; default five times `session.ttl`, at least `session.ttl`.
    pub dead_after: Option<Span>,
    /// How long the record of a dead or departed peer is kept, unless it is cordoned; default 72 h.
    pub forget_after: Option<Span>,
}

/// How much history the store keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// How long a change stays in the log. Too low: watches that were away begin anew.
    pub age: Span,
    /// 1000 to 10000000 changes.
    pub entries_max: usize,
    /// How long a deleted record leaves a trace.
    pub tombstone_age: Span,
    /// How long an answer is kept for a repeated idempotency key.
    pub idempotency_age: Span,
    /// 1000 to 10000000 answers.
    pub idempotency_entries_max: usize,
}

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuditConfig {
    /// How long the records of this node are kept, 1 h to 10 years; default 400 days. Too low: what happened
    /// before the last review is gone.
    pub age: Span,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            id: None,
            role: "worker".to_owned(),
            cluster: "default".to_owned(),
            region: String::new(),
            zone: String::new(),
            services: Vec::new(),
            labels: BTreeMap::new(),
            data_dir: None,
        }
    }
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 17420)),
            insecure: false,
            socket: None,
            socket_mode: FileMode::default(),
            socket_group: None,
            hosts: Vec::new(),
            connections_max: 16_384,
            connections_per_address_max: None,
            watches_max: 16_384,
            drain_grace: Span(Duration::from_secs(10)),
        }
    }
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 17421)),
            advertise: None,
            seeds: Vec::new(),
            leadership: LeadershipConfig::default(),
        }
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { ttl: Span(Duration::from_secs(2)), renew_every: Span(Duration::from_millis(500)) }
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        let day = Span(Duration::from_secs(24 * 3600));
        Self {
            age: day,
            entries_max: 100_000,
            tombstone_age: day,
            idempotency_age: day,
            idempotency_entries_max: 100_000,
        }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { age: Span(Duration::from_secs(400 * 24 * 3600)) }
    }
}

impl Config {
    /// Whether a service is switched on.
    pub fn serves(&self, service: &str) -> bool {
        self.node.services.iter().any(|name| name == service)
    }

    /// How long a session, and so a lease, lives without a renewal.
    pub fn session_ttl(&self) -> Duration {
        self.mesh.leadership.lease_duration.map_or(self.session.ttl.0, |span| span.0)
    }

    /// How often a session is renewed.
    pub fn renew_every(&self) -> Duration {
        let lead = self.mesh.leadership.renewal_lead_time;
        let every = lead.map(|lead| self.session_ttl().saturating_sub(lead.0));
        every.unwrap_or_else(|| self.session.renew_every.0.min(self.session_ttl() / 2))
    }

    /// How long a peer is silent before it is dead.
    pub fn dead_after(&self) -> Duration {
        self.peers.dead_after.map_or(self.session_ttl() * 5, |span| span.0)
    }

    /// How long the record of a peer that is gone is kept.
    pub fn forget_after(&self) -> Duration {
        self.peers.forget_after.map_or(Duration::from_secs(72 * 3600), |span| span.0)
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.contains(':') {
            return clock_span(text).ok_or_else(|| format!("`{text}` is no duration: expected hh:mm:ss"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(format!("`{text}` has no unit: write `{text}s` or `{text}ms`"));
        }
        humantime::parse_duration(text)
            .map(Span)
            .map_err(|_| format!("`{text}` is no duration: write `1s`, `250ms`, `1h 5m` or `00:00:05`"))
    }
}

/// `[d.]hh:mm:ss[.fff]`
fn clock_span(text: &str) -> Option<Span> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if clock.contains(':') => (days.parse::<u64>().ok()?, clock),
        Some(_) | None => (0, text),
    };
    let mut parts = clock.split(':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    if parts.next().is_some()
        || hours > 23
        || minutes > 59
        || !(0.0..60.0).contains(&seconds)
        || days > 36_500
    {
        return None;
    }
    let whole = Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60);
    Some(Span(whole + Duration::from_millis((seconds * 1000.0).round() as u64)))
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration with its unit, such as `1s`, `250ms` or `00:00:05`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Span, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Span, E> {
                Err(E::custom(format!("`{number}` has no unit")))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Span, E> {
                Err(E::custom(format!("`{number}` has no unit: write `{number}s`")))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_only() {
        let cases = [
            ("seconds", "1s", Some(1_000)),
            ("milliseconds", "250ms", Some(250)),
            ("several units", "1h 5m", Some(3_900_000)),
            ("clock", "00:00:05", Some(5_000)),
            ("clock with days", "1.00:00:00", Some(86_400_000)),
            ("clock with a fraction", "00:00:00.250", Some(250)),
            ("a bare number", "10", None),
            ("a bare fraction", "1.5", None),
            ("99 seconds on a clock", "00:00:99", None),
            ("a word", "soon", None),
            ("nothing", "", None),
        ];
        for (what, text, expected) in cases {
            let read = text.parse::<Span>().ok().map(|span| span.0.as_millis());
            assert_eq!(read, expected, "{what}");
        }
    }
}
