//! Settings of the relay for the telemetry of agents.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use omnirelay_store::url::UrlSecret;
use serde::{Deserialize, Serialize};

use super::relay_port::{RelayAllowConfig, RelayTlsConfig};
use super::{ClientTlsConfig, HumanDuration};

/// The relay: its ports, its sessions, where telemetry goes, and who is told which agents it holds. It runs when
/// `node.services` has `relay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Where agents and relays connect; bound when `node.services` has `relay` or `registry`.
    pub listen: SocketAddr,
    /// Where its metrics and health are served.
    pub http_listen: SocketAddr,
    /// The relay's name; default `RELAY_ID`, else the host name, else `relay`.
    pub id: Option<String>,
    /// `HOST` or `HOST:PORT` at which others reach it; default the listen address, or the address of the default
    /// route when that is a wildcard.
    pub advertise: Option<String>,
    /// 1 to 100000. Too low: agents are turned away; too high: memory at 30 kB each.
    pub connections_max: usize,
    /// How many of them one address may have that is not of the loopback interface, 1 to 100000; default a quarter.
    /// Too low: agents behind one gateway are turned away; too high: one host keeps all agents out.
    pub connections_per_address_max: Option<usize>,
    pub tls: RelayTlsConfig,
    pub allow: RelayAllowConfig,
    /// Whether callers of this host may do everything on the relay's port; default true. Must be false where a proxy or
    /// a sidecar of this host brings others: nobody has more than `mesh.connect` and `mesh.read` there then.
    pub trust_local: bool,
    /// How agents put telemetry on the wire: told apart by their first message, or one way only.
    pub telemetry_wire: TelemetryWire,
    /// When a frame is acknowledged. Too early: what was acknowledged is lost with the host; too late: agents wait.
    pub acknowledge_when: AcknowledgeWhen,
    /// 1 to 100000 frames of a stream that are held unacknowledged; agents are told. Too low: far agents are slow.
    pub max_inflight: usize,
    /// 8 MiB to 16 GiB that unacknowledged frames of all streams may hold together, in bytes. Too low: streams wait.
    pub inflight_bytes_max: usize,
    /// How long a session lives without a stream, and its published key without a refresh, 2 s to 1 h; default 45 s.
    pub session_ttl: HumanDuration,
    /// 1 to 1000000 sessions. Too low: agents are refused.
    pub sessions_max: usize,
    pub sinks: SinksConfig,
    pub publish: PublishConfig,
    pub registry: RelayRegistryConfig,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TelemetryWire {
    #[default]
    Auto,
    /// Bare frames, as agent v0.1.0 sends them.
    Legacy,
    /// Frames in an envelope that holds commands as well.
    Envelope,
}

/// Durability of a frame before it is acknowledged, in all sinks that acknowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcknowledgeWhen {
    /// It is in the sink's queue: lost when the process ends.
    Queued,
    /// The sink has taken it: a file's write has returned, a server has answered. Lost with the host at most.
    #[default]
    Written,
    /// It is on the disk; the same as `written` for what is no file.
    Synced,
}

/// Sinks of telemetry. With none switched on, it goes to files in the data directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SinksConfig {
    pub file: FileSinkConfig,
    pub redis: RedisSinkConfig,
    pub http: HttpSinkConfig,
    pub stdout: StdoutSinkConfig,
}

/// Queue of a sink: the settings that are the same for all sinks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QueueConfig {
    /// 1 to 1000000 frames that wait for the sink. Too low: a hiccup drops frames or blocks agents.
    pub size: usize,
    /// 64 KiB to 1 GiB of memory that those frames may take together, decoded, in bytes.
    pub bytes_max: usize,
    /// What happens to a frame that finds no room. Default: a sink that acknowledges is waited for while it goes on
    /// writing, all others drop.
    pub backpressure: Option<Backpressure>,
    /// Whether frames are acknowledged only when this sink has them; default: files do, and others only where there
    /// is no file.
    pub acknowledges: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backpressure {
    /// It is dropped for this sink, and counted.
    Drop,
    /// Its stream waits, however long.
    Block,
}

/// JSON Lines in files that are rotated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FileSinkConfig {
    /// Default: on unless another sink is.
    pub enabled: Option<bool>,
    /// The folder; default `telemetry` in the data directory.
    pub path: Option<PathBuf>,
    /// What file names begin with.
    pub prefix: String,
    /// A file this old is followed by a new one, 1 s to 24 h; default 60 s.
    pub rotate_every: HumanDuration,
    /// A file this large is followed by a new one, in bytes, 4 KiB to 1 TiB; default 256 MiB.
    pub rotate_bytes: u64,
    pub compress: FileCompression,
    /// How many files are kept, the newest; 0: all.
    pub files_max: usize,
    pub queue: QueueConfig,
}

/// Compression of a file that is followed by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileCompression {
    #[default]
    None,
    Zstd,
}

/// Entries of a Redis Stream.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisSinkConfig {
    /// `redis://`, `rediss://` or `redis+sentinel://`; the sink is on when it is given.
    pub url: Option<String>,
    /// A file whose only line is the password; wins over the URL's.
    pub password_file: Option<PathBuf>,
    /// The key of the stream.
    pub stream: String,
    /// About how many entries are kept, 1 to 100000000. Too low: slow readers miss some.
    pub entries_max: usize,
    pub queue: QueueConfig,
}

/// Batches of JSON Lines posted to a server.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpSinkConfig {
    /// An `http://` or `https://` address; the sink is on when it is given.
    pub url: Option<String>,
    pub tls: ClientTlsConfig,
    /// How long the server may take to answer, 100 ms to 5 min.
    pub timeout: HumanDuration,
    /// 1 to 10000 frames of one request.
    pub batch_frames: usize,
    pub queue: QueueConfig,
}

/// JSON Lines on standard output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StdoutSinkConfig {
    pub enabled: bool,
    pub queue: QueueConfig,
}

/// Publication of which session of which relay a drone has: keys `drone:{id}` of a Redis. Has nothing to do with the
/// store of the registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PublishConfig {
    /// `HOST:PORT`; default `REDIS_ADDR`. Empty: nothing is published.
    pub address: Option<String>,
    /// Default `REDIS_PASSWORD`. Shown to nobody.
    pub password: Option<UrlSecret>,
    /// Default `REDIS_DB`, else 0.
    pub database: Option<u32>,
}

/// The registry that the relay tells of itself and of its agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RelayRegistryConfig {
    /// `http://HOST:PORT`, or `https://HOST:PORT` for TLS, of another registry; default the one of this daemon.
    pub address: Option<String>,
    /// The same as `tls.ca`.
    pub ca: Option<PathBuf>,
    pub tls: ClientTlsConfig,
    /// 100 ms to 1 h, at most half of the registry's time to live. Too low: needless work; too high: one that is
    /// lost on the way ends what lives.
    pub heartbeat_interval: HumanDuration,
    /// How long the registry may take to answer, 100 ms to 1 min.
    pub request_timeout: HumanDuration,
}

/// The registry of relays and agents. It is served to others on the relay's port when `node.services` has `registry`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AeroRegistryConfig {
    /// How long a relay lives without a heartbeat, 1 s to 24 h; default 30 s. Too low: a hiccup ends it with all that
    /// it holds; too high: one that has crashed is shown as long.
    pub relay_ttl: HumanDuration,
    /// The same of an agent.
    pub agent_ttl: HumanDuration,
    /// How many relays are registered at most, those that have ended a moment ago included; 1 to 100,000, default
    /// 10,000. Too low: relays are refused; too high: whoever reaches the relay's port may fill the memory of all daemons.
    pub relays_max: usize,
    /// The same of agents; 1 to 1,000,000, default 200,000.
    pub agents_max: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 50051)),
            http_listen: SocketAddr::from(([0, 0, 0, 0], 2112)),
            id: None,
            advertise: None,
            connections_max: 16_384,
            connections_per_address_max: None,
            tls: RelayTlsConfig::default(),
            allow: RelayAllowConfig::default(),
            trust_local: true,
            telemetry_wire: TelemetryWire::default(),
            acknowledge_when: AcknowledgeWhen::default(),
            max_inflight: 1000,
            inflight_bytes_max: 256 * 1024 * 1024,
            session_ttl: HumanDuration(Duration::from_secs(45)),
            sessions_max: 100_000,
            sinks: SinksConfig::default(),
            publish: PublishConfig::default(),
            registry: RelayRegistryConfig::default(),
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { size: 10_000, bytes_max: 64 * 1024 * 1024, backpressure: None, acknowledges: None }
    }
}

impl Default for FileSinkConfig {
    fn default() -> Self {
        Self {
            enabled: None,
            path: None,
            prefix: "telemetry".to_owned(),
            rotate_every: HumanDuration(Duration::from_secs(60)),
            rotate_bytes: 256 * 1024 * 1024,
            compress: FileCompression::default(),
            files_max: 0,
            queue: QueueConfig::default(),
        }
    }
}

impl Default for RedisSinkConfig {
    fn default() -> Self {
        Self {
            url: None,
            password_file: None,
            stream: "telemetry".to_owned(),
            entries_max: 1_000_000,
            queue: QueueConfig::default(),
        }
    }
}

impl Default for HttpSinkConfig {
    fn default() -> Self {
        let timeout = HumanDuration(Duration::from_secs(10));
        let (tls, queue) = (ClientTlsConfig::default(), QueueConfig::default());
        Self { url: None, tls, timeout, batch_frames: 500, queue }
    }
}

impl Default for RelayRegistryConfig {
    fn default() -> Self {
        let seconds = |count| HumanDuration(Duration::from_secs(count));
        let tls = ClientTlsConfig::default();
        Self { address: None, ca: None, tls, heartbeat_interval: seconds(10), request_timeout: seconds(5) }
    }
}

impl Default for AeroRegistryConfig {
    fn default() -> Self {
        let ttl = HumanDuration(Duration::from_secs(30));
        Self { relay_ttl: ttl, agent_ttl: ttl, relays_max: 10_000, agents_max: 200_000 }
    }
}
