//! The daemon's configuration: what can be set, its defaults and its limits.

use serde::{Deserialize, Serialize};

mod aliases;
mod audit;
mod check;
mod client_tls;
mod control;
mod federated;
mod foreign;
mod gossip;
mod history;
mod key_files;
mod layers;
mod leadership;
mod limits;
mod lines;
mod live;
mod mesh;
mod mesh_wide;
mod named_files;
mod node;
mod oidc;
mod origin;
mod otlp;
mod overrides;
mod peers;
mod plaintext;
mod rate_limit;
mod registers;
mod relay;
mod relay_check;
mod relay_port;
mod schema;
mod security;
mod session;
mod shards;
mod shown;
mod sinks;
mod store;
mod transport;

pub use audit::AuditConfig;
pub use check::is_host_and_port;
pub use client_tls::{ClientIdentity, ClientTlsConfig, ClientTrust};
pub use control::{ControlConfig, ControlTlsConfig, FileMode, TlsSource};
pub use federated::{FEDERATED_CLUSTERS_MAX, FederatedClusterConfig};
pub use foreign::is_foreign;
pub use gossip::{GossipConfig, SAID_BYTES_MAX};
pub use history::HistoryConfig;
pub use layers::{ConfigError, ConfigSource, LoadedConfig, ValueSource, load, read};
pub use leadership::{LeadershipConfig, ScopeConfig, ShardsConfig};
pub use limits::{LimitConfig, LimitsConfig, ObservedLimitConfig};
#[cfg(any(test, feature = "testing"))]
pub use live::AT_START;
pub use live::{ConfigReload, LiveConfig, NamedFile, RefusedSetting, ReloadError};
pub use mesh::MeshConfig;
pub use node::NodeConfig;
pub use oidc::OidcConfig;
pub use omnirelay_host::duration::HumanDuration;
use omnirelay_host::log::LogConfig;
use omnirelay_store::StoreConfig;
pub use otlp::OtlpConfig;
pub use peers::PeersConfig;
pub use rate_limit::RateLimitConfig;
pub use registers::{PEER_SERVICES_MAX, PeerServiceConfig, PeerServiceError, RegistersConfig, peer_service};
pub use relay::{
    AcknowledgeWhen, AeroRegistryConfig, Backpressure, FileCompression, FileSinkConfig, HttpSinkConfig,
    PublishConfig, QueueConfig, RedisSinkConfig, RelayConfig, RelayRegistryConfig, SinksConfig,
    StdoutSinkConfig, TelemetryWire,
};
pub use relay_port::{RelayAllowConfig, RelayClients, RelayTlsConfig, RelayTlsSource};
#[cfg(any(test, feature = "testing"))]
pub use schema::keys;
pub use security::{BindingConfig, IdentityConfig, IdentitySource, LoopbackTrust, SecurityConfig};
pub use session::NodeSessionConfig;
pub use shards::{ShardingConfig, WebhookConfig};
pub use sinks::http_sink_url;
pub use transport::TransportConfig;

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
    pub session: NodeSessionConfig,
    pub peers: PeersConfig,
    pub registers: RegistersConfig,
    pub history: HistoryConfig,
    pub audit: AuditConfig,
    pub transport: TransportConfig,
    pub log: LogConfig,
    pub limits: LimitsConfig,
    pub otlp: OtlpConfig,
}
