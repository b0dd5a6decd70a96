//! Shards: how many there may be, how long what became of them is kept, and who approves plans.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use omnirelay_decisions::shards::load::check_thresholds;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::LoadThresholds;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, within};
use super::sinks::without_query;
use omnirelay_host::duration::HumanDuration;

/// The most that can be set: the records of all shards are in the memory of each daemon.
const SHARDS_MAX: usize = 1_000_000;

/// Shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ShardingConfig {
    /// Whether whoever proposes a plan may approve it, where the policy of the namespace says nothing; default `false`.
    pub self_approval: Option<bool>,
    /// How many shards a namespace has at most, 1 to 100000.
    pub per_namespace_max: usize,
    /// How many shards all namespaces have together at most, 1 to 1000000.
    pub per_mesh_max: usize,
    /// How long changes of maps are kept, `1h` to `3650d`.
    pub history_kept: HumanDuration,
    /// What a node has to do at most, as its workers report it, where a namespace says nothing.
    pub load: LoadConfig,
    /// Whom the leader tells what becomes of plans, and each daemon what it sees wrong.
    pub webhook: WebhookConfig,
}

/// A server that is told what becomes of plans, and which namespaces are held up or have failed.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Where it is posted, `http` or `https`; nothing: nobody is told.
    pub url: Option<String>,
    /// The file of the secret by which it is signed, 1 to 4096 bytes; the daemon alone reads it. Read anew each time.
    pub secret_file: Option<PathBuf>,
    /// The file of the authorities of the server; nothing: those that everybody knows.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_deref().map(without_query);
        f.debug_struct("WebhookConfig")
            .field("url", &url)
            .field("secret_file", &self.secret_file)
            .finish_non_exhaustive()
    }
}

impl WebhookConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        let Some(url) = &self.url else {
            let is_said = self.secret_file.is_some() || self.ca.is_some();
            let what = "`secretFile` and `ca` mean nothing without it".to_owned();
            return if is_said { Err(("mesh.shards.webhook.url", what)) } else { Ok(()) };
        };
        let is_one = url.parse::<Url>().is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
        });
        if !is_one {
            let what = "it is no URL of http or https without a user".to_owned();
            return Err(("mesh.shards.webhook.url", what));
        }
        if self.secret_file.is_none() {
            let what = "what is told is signed: name the file of the secret".to_owned();
            return Err(("mesh.shards.webhook.secretFile", what));
        }
        Ok(())
    }
}

/// The most that a node has to do until it has too much; what is not set is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadConfig {
    /// Pieces of work that were taken and are not done, 1 or more.
    pub pending_max: Option<u64>,
    /// Pieces of work that wait to be taken, 1 or more.
    pub queue_depth_max: Option<u64>,
    /// How long a piece of work takes, in milliseconds, above 0.
    pub latency_max_ms: Option<f64>,
    /// Which part of the work fails, above 0, to 1.
    pub error_rate_max: Option<f64>,
}

impl LoadConfig {
    /// As the API says them.
    pub fn thresholds(&self) -> LoadThresholds {
        LoadThresholds {
            pending: self.pending_max,
            queue_depth: self.queue_depth_max,
            latency_ms: self.latency_max_ms,
            error_rate: self.error_rate_max,
            unknown_fields: Default::default(),
        }
    }

    fn check(&self) -> Result<(), InvalidSetting> {
        let key = |field: &str| match field {
            "pending" => "mesh.shards.load.pendingMax",
            "queueDepth" => "mesh.shards.load.queueDepthMax",
            "latencyMs" => "mesh.shards.load.latencyMaxMs",
            _ => "mesh.shards.load.errorRateMax",
        };
        check_thresholds(&self.thresholds()).map_err(|(field, what)| (key(field), what))
    }
}

impl Default for ShardingConfig {
    fn default() -> Self {
        Self {
            self_approval: None,
            per_namespace_max: 10_000,
            per_mesh_max: 100_000,
            history_kept: HumanDuration(Duration::from_secs(30 * 24 * 3600)),
            load: LoadConfig::default(),
            webhook: WebhookConfig::default(),
        }
    }
}

impl ShardingConfig {
    /// As [`Section::check`](super::check::Section::check) of a section.
    pub(super) fn check(&self) -> Result<(), InvalidSetting> {
        if !(1..=SHARDS_MAX / 10).contains(&self.per_namespace_max) {
            let what = format!("{} is not 1 to {}", self.per_namespace_max, SHARDS_MAX / 10);
            return Err(("mesh.shards.perNamespaceMax", what));
        }
        if !(1..=SHARDS_MAX).contains(&self.per_mesh_max) {
            return Err((
                "mesh.shards.perMeshMax",
                format!("{} is not 1 to {SHARDS_MAX}", self.per_mesh_max),
            ));
        }
        self.load.check()?;
        self.webhook.check()?;
        let (hour, most) = (Duration::from_secs(3600), Duration::from_secs(3650 * 24 * 3600));
        within("mesh.shards.historyKept", self.history_kept, hour, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked() {
        let of = |change: fn(&mut ShardingConfig)| {
            let mut config = ShardingConfig::default();
            change(&mut config);
            config.check().map_err(|(key, _)| key)
        };
        assert_eq!(of(|_| {}), Ok(()));
        assert_eq!(of(|config| config.per_namespace_max = 0), Err("mesh.shards.perNamespaceMax"));
        assert_eq!(of(|config| config.load.queue_depth_max = Some(0)), Err("mesh.shards.load.queueDepthMax"));
        assert_eq!(of(|config| config.load.error_rate_max = Some(1.5)), Err("mesh.shards.load.errorRateMax"));
        let webhook = |url: &str, secret: Option<&str>| {
            let (url, secret_file) = (Some(url.to_owned()), secret.map(PathBuf::from));
            let webhook = WebhookConfig { url, secret_file, ca: None };
            ShardingConfig { webhook, ..ShardingConfig::default() }.check().map_err(|(key, _)| key)
        };
        assert_eq!(webhook("https://hooks.example/omnirelay", Some("secret")), Ok(()));
        assert_eq!(webhook("https://hooks.example/omnirelay", None), Err("mesh.shards.webhook.secretFile"));
        assert_eq!(webhook("ftp://hooks.example", Some("secret")), Err("mesh.shards.webhook.url"));
        assert_eq!(webhook("https://me:word@hooks.example", Some("secret")), Err("mesh.shards.webhook.url"));
        assert_eq!(of(|config| config.per_mesh_max = 2_000_000), Err("mesh.shards.perMeshMax"));
        assert_eq!(
            of(|config| config.history_kept = HumanDuration(Duration::ZERO)),
            Err("mesh.shards.historyKept")
        );
    }
}
