//! Settings that only a store in Redis takes, and those of all stores that it takes.

use std::path::{Path, PathBuf};

use omnirelay_core::text::chain;
use serde::{Deserialize, Serialize};

use super::link::{RedisOptions, TlsFiles};
use super::url::{RedisUrl, StoreServers};
use crate::backend::BackendSetting;
use crate::settings::{InvalidStoreSetting, StoreConfig, StoreTlsConfig};
use crate::url::{UrlSecret, redacted};

/// The most replicas that leaders can need.
const REPLICAS_MAX: u32 = 16;

const NEED: &str = "store.redis.leadersNeedReplicas";
const OF_REDIS: &str = "a Redis URL";
const OF_TLS: &str = "TLS: rediss:// or rediss+sentinel://";
const OF_SENTINELS: &str = "Sentinels";

/// The settings that URLs of Redis take, some of them with TLS or Sentinels alone.
pub(super) static SETTINGS: [BackendSetting; 8] = [
    BackendSetting { key: NEED, is_given: |c| c.redis.leaders_need_replicas.is_some(), with: OF_REDIS },
    BackendSetting { key: "store.username", is_given: |c| c.username.is_some(), with: OF_REDIS },
    BackendSetting { key: "store.passwordFile", is_given: |c| c.password_file.is_some(), with: OF_REDIS },
    BackendSetting { key: "store.tls.ca", is_given: |c| c.tls.ca.is_some(), with: OF_TLS },
    BackendSetting { key: "store.tls.cert", is_given: |c| c.tls.cert.is_some(), with: OF_TLS },
    BackendSetting { key: "store.tls.key", is_given: |c| c.tls.key.is_some(), with: OF_TLS },
    BackendSetting {
        key: "store.sentinel.username",
        is_given: |c| c.sentinel.username.is_some(),
        with: OF_SENTINELS,
    },
    BackendSetting {
        key: "store.sentinel.passwordFile",
        is_given: |c| c.sentinel.password_file.is_some(),
        with: OF_SENTINELS,
    },
];

/// Demands on Redis that must be met before it is relied on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StoreRedisConfig {
    /// How many replicas must have a lease and its renewals before its leader relies on them, 0 to 16; all daemons of
    /// a mesh have the same. Default: with Sentinels as many as two sides of a network split cannot both have (one of
    /// one or two replicas), otherwise 0. Too low: two leaders while a split lasts; too high: nobody leads while a
    /// replica is down.
    pub leaders_need_replicas: Option<u32>,
}

/// Login of the daemon at the Sentinels, whose users are not those of the servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StoreSentinelConfig {
    pub username: Option<String>,
    /// A file whose only line is the password.
    pub password_file: Option<PathBuf>,
}

/// The URL of the settings, as far as it can be judged without looking into files.
pub(super) fn url(config: &StoreConfig) -> Result<RedisUrl, InvalidStoreSetting> {
    let wrong = |error| ("store.url", format!("`{}` is no store: {error}", redacted(&config.url)));
    let url = config.url.parse().map_err(wrong)?;
    match config.redis.leaders_need_replicas.filter(|need| *need > REPLICAS_MAX) {
        Some(need) => Err((NEED, format!("{need} replicas are more than {REPLICAS_MAX}"))),
        None => Ok(url),
    }
}

/// Parts of this URL with which settings beside it mean something.
pub(super) fn had(url: &RedisUrl) -> Vec<&'static str> {
    let by_sentinels = matches!(url.servers, StoreServers::Sentinels { .. });
    let all = [(OF_REDIS, true), (OF_TLS, url.tls), (OF_SENTINELS, by_sentinels)];
    all.into_iter().filter_map(|(what, is_had)| is_had.then_some(what)).collect()
}

/// The options beside the URL, with what the files hold.
pub(super) fn options(config: &StoreConfig) -> Result<RedisOptions, InvalidStoreSetting> {
    let StoreTlsConfig { ca, cert, key } = config.tls.clone();
    for (name, file) in [("store.tls.ca", &ca), ("store.tls.cert", &cert), ("store.tls.key", &key)] {
        file.iter().try_for_each(|path| check_readable(name, path))?;
    }
    let (password, of_sentinels) =
        (config.password_file.as_deref(), config.sentinel.password_file.as_deref());
    Ok(RedisOptions {
        username: config.username.clone(),
        password: UrlSecret::of_file("store.passwordFile", password)?,
        sentinel_username: config.sentinel.username.clone(),
        sentinel_password: UrlSecret::of_file("store.sentinel.passwordFile", of_sentinels)?,
        tls: TlsFiles { ca, cert, key },
        leaders_need: config.redis.leaders_need_replicas,
        ..RedisOptions::default()
    })
}

fn check_readable(key: &'static str, path: &Path) -> Result<(), InvalidStoreSetting> {
    let unreadable =
        |error: std::io::Error| (key, format!("cannot read `{}`: {}", path.display(), chain(&error)));
    std::fs::File::open(path).map(drop).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_what_is_wrong_with_them_names_their_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let mut config = StoreConfig::of_url("rediss+sentinel://a/b");
        config.password_file = file("password", "p w\n");
        config.sentinel.password_file = file("other", "s\n");
        config.tls.ca = file("ca", "");
        let read = options(&config).unwrap();
        assert_eq!(read.password.as_ref().map(UrlSecret::reveal), Some("p w"));
        assert_eq!(read.sentinel_password.as_ref().map(UrlSecret::reveal), Some("s"));
        assert_eq!(config.check_files(), Ok(()));

        let mut other = config.clone();
        other.password_file = file("empty", "\n");
        assert_eq!(other.check_files().unwrap_err().0, "store.passwordFile");
        config.tls.ca = Some(directory.path().join("nowhere"));
        assert_eq!(config.check_files().unwrap_err().0, "store.tls.ca");
    }
}
