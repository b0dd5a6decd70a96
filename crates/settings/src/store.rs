//! Settings of the store: where the registry is, and who the daemon is to the servers that keep it.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use omnirelay_core::secret_file::first_line;
use omnirelay_core::text::chain;
use omnirelay_store::redis::link::{RedisOptions, TlsFiles};
use omnirelay_store::redis::url::{RedisUrl, StoreServers, UrlSecret, redacted};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Config;
use super::check::{InvalidSetting, Section};

/// The most replicas that leaders can need.
const REPLICAS_MAX: u32 = 16;
/// Longer files are no passwords.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Settings of the store that keeps the registry: where it is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `embedded:` (in the data directory), `memory:` (gone with the process), or the URL of Redis
    /// servers, Sentinels or a Cluster: `redis://`, `rediss://`, `redis+sentinel://`,
    /// `rediss+sentinel://`.
    pub url: String,
    /// The Redis user; wins over the URL's.
    pub username: Option<String>,
    /// A file whose only line is the user's password; wins over the URL's.
    pub password_file: Option<PathBuf>,
    pub tls: StoreTlsConfig,
    pub sentinel: StoreSentinelConfig,
    pub redis: StoreRedisConfig,
}

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

/// Files in PEM for `rediss://` and `rediss+sentinel://`, read for each connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StoreTlsConfig {
    /// Whoever may have signed the servers' certificates; default the public authorities.
    pub ca: Option<PathBuf>,
    /// The certificate that the daemon shows, with its chain; default none.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
}

/// Login of the daemon at the Sentinels, whose users are not those of the servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StoreSentinelConfig {
    pub username: Option<String>,
    /// A file whose only line is the password.
    pub password_file: Option<PathBuf>,
}

impl StoreConfig {
    /// The URL and what belongs to it, with what its files hold; `None` for a store that is not
    /// Redis.
    ///
    /// # Errors
    /// The key of the setting that is wrong, or of the file that cannot be used, and why.
    pub fn redis(&self) -> Result<Option<(RedisUrl, RedisOptions)>, (&'static str, String)> {
        self.check_alone()?;
        if !RedisUrl::is_meant(&self.url) {
            return Ok(None);
        }
        let StoreTlsConfig { ca, cert, key } = self.tls.clone();
        for (name, file) in [("store.tls.ca", &ca), ("store.tls.cert", &cert), ("store.tls.key", &key)] {
            if let Some(path) = file {
                std::fs::File::open(path).map_err(|error| unreadable(name, path, &chain(&error)))?;
            }
        }
        let options = RedisOptions {
            username: self.username.clone(),
            password: password("store.passwordFile", self.password_file.as_deref())?,
            sentinel_username: self.sentinel.username.clone(),
            sentinel_password: password(
                "store.sentinel.passwordFile",
                self.sentinel.password_file.as_deref(),
            )?,
            tls: TlsFiles { ca, cert, key },
            leaders_need: self.redis.leaders_need_replicas,
            ..RedisOptions::default()
        };
        Ok(Some((parsed(&self.url)?, options)))
    }

    /// The servers of the URL, with their ports; none for a store that is not Redis.
    pub fn servers(&self) -> Vec<(String, u16)> {
        let found = RedisUrl::is_meant(&self.url).then(|| parsed(&self.url).ok()).flatten();
        let servers = found.map(|url| match url.servers {
            StoreServers::Redis(servers) | StoreServers::Sentinels { sentinels: servers, .. } => servers,
        });
        servers.into_iter().flatten().map(|server| (server.host, server.port)).collect()
    }

    /// Only what can be said without looking into files.
    fn check_alone(&self) -> Result<(), InvalidSetting> {
        let url = match self.url.as_str() {
            "embedded:" | "memory:" => None,
            text => Some(parsed(text)?),
        };
        let tls = url.as_ref().is_some_and(|url| url.tls);
        let by_sentinels =
            url.as_ref().is_some_and(|url| matches!(url.servers, StoreServers::Sentinels { .. }));
        let need = self.redis.leaders_need_replicas;
        let given = [
            ("store.redis.leadersNeedReplicas", need.is_some(), url.is_some(), "a Redis URL"),
            ("store.username", self.username.is_some(), url.is_some(), "a Redis URL"),
            ("store.passwordFile", self.password_file.is_some(), url.is_some(), "a Redis URL"),
            ("store.tls.ca", self.tls.ca.is_some(), tls, "TLS: rediss:// or rediss+sentinel://"),
            ("store.tls.cert", self.tls.cert.is_some(), tls, "TLS: rediss:// or rediss+sentinel://"),
            ("store.tls.key", self.tls.key.is_some(), tls, "TLS: rediss:// or rediss+sentinel://"),
            ("store.sentinel.username", self.sentinel.username.is_some(), by_sentinels, "Sentinels"),
            ("store.sentinel.passwordFile", self.sentinel.password_file.is_some(), by_sentinels, "Sentinels"),
        ];
        if let Some((key, _, _, with)) = given.into_iter().find(|(_, given, fits, _)| *given && !fits) {
            return Err((key, format!("it means nothing here: `store.url` has no {with}")));
        }
        if let Some(need) = need.filter(|need| *need > REPLICAS_MAX) {
            let what = format!("{need} replicas are more than {REPLICAS_MAX}");
            return Err(("store.redis.leadersNeedReplicas", what));
        }
        match (&self.tls.cert, &self.tls.key) {
            (Some(_), None) => Err(("store.tls.cert", "its key is missing: `store.tls.key`".to_owned())),
            (None, Some(_)) => {
                Err(("store.tls.key", "its certificate is missing: `store.tls.cert`".to_owned()))
            }
            (_, _) => Ok(()),
        }
    }
}

impl Section for StoreConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        self.check_alone()
    }
}

fn parsed(text: &str) -> Result<RedisUrl, InvalidSetting> {
    let shown = redacted(text);
    if !RedisUrl::is_meant(text) {
        let what = format!(
            "`{shown}` is no store; it is `embedded:`, `memory:`, or a URL that begins with `redis://`, \
             `rediss://`, `redis+sentinel://` or `rediss+sentinel://`"
        );
        return Err(("store.url", what));
    }
    text.parse().map_err(|error| ("store.url", format!("`{shown}` is no store: {error}")))
}

/// The first line of a file.
pub(super) fn password(key: &'static str, path: Option<&Path>) -> Result<Option<UrlSecret>, InvalidSetting> {
    let Some(path) = path else { return Ok(None) };
    let mut content = Zeroizing::new(Vec::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(PASSWORD_BYTES_MAX + 1).read_to_end(&mut content))
        .map_err(|error| unreadable(key, path, &chain(&error)))?;
    if content.len() as u64 > PASSWORD_BYTES_MAX {
        let what =
            format!("`{}` is longer than the {PASSWORD_BYTES_MAX} bytes of a password", path.display());
        return Err((key, what));
    }
    let line = first_line(&content);
    let line = line.map_err(|fault| (key, format!("`{}` holds no password: {fault}", path.display())))?;
    Ok(Some(UrlSecret::new(line)))
}

fn unreadable(key: &'static str, path: &Path, why: &str) -> InvalidSetting {
    (key, format!("cannot read `{}`: {why}", path.display()))
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "embedded:".to_owned(),
            username: None,
            password_file: None,
            tls: StoreTlsConfig::default(),
            sentinel: StoreSentinelConfig::default(),
            redis: StoreRedisConfig::default(),
        }
    }
}

/// Without the password that the URL may hold.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, username, password_file, tls, sentinel, redis } = self;
        f.debug_struct("StoreConfig")
            .field("url", &redacted(url))
            .field("username", username)
            .field("password_file", password_file)
            .field("tls", tls)
            .field("sentinel", sentinel)
            .field("redis", redis)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, change: fn(&mut StoreConfig)) -> StoreConfig {
        let mut config = StoreConfig { url: url.to_owned(), ..StoreConfig::default() };
        change(&mut config);
        config
    }

    #[test]
    fn each_fault_names_its_key() {
        type Case = (&'static str, &'static str, &'static str, fn(&mut StoreConfig));
        let cases: [Case; 14] = [
            ("no store", "store.url", "postgres://a", |_| ()),
            ("a directory", "store.url", "embedded:/srv", |_| ()),
            ("a bad port", "store.url", "redis://a:0", |_| ()),
            ("no service", "store.url", "redis+sentinel://a", |_| ()),
            ("a user of no server", "store.username", "embedded:", |c| c.username = Some("a".into())),
            ("a password for nobody", "store.passwordFile", "memory:", |c| {
                c.password_file = Some("a".into());
            }),
            ("TLS without TLS", "store.tls.ca", "redis://a", |c| c.tls.ca = Some("a".into())),
            ("a certificate without TLS", "store.tls.cert", "redis://a", |c| c.tls.cert = Some("a".into())),
            ("no key", "store.tls.cert", "rediss://a", |c| c.tls.cert = Some("a".into())),
            ("no certificate", "store.tls.key", "rediss://a", |c| c.tls.key = Some("a".into())),
            ("replicas of no server", "store.redis.leadersNeedReplicas", "embedded:", |c| {
                c.redis.leaders_need_replicas = Some(1);
            }),
            ("too many replicas", "store.redis.leadersNeedReplicas", "redis://a", |c| {
                c.redis.leaders_need_replicas = Some(17);
            }),
            ("no Sentinels", "store.sentinel.username", "redis://a", |c| {
                c.sentinel.username = Some("a".into());
            }),
            ("no Sentinels", "store.sentinel.passwordFile", "redis://a", |c| {
                c.sentinel.password_file = Some("a".into());
            }),
        ];
        for (what, key, url, change) in cases {
            assert_eq!(config(url, change).check_alone().unwrap_err().0, key, "{what}");
        }
        for url in ["embedded:", "memory:", "redis://a", "rediss://a,b/1", "rediss+sentinel://a/b"] {
            assert_eq!(config(url, |_| ()).check_alone(), Ok(()), "{url}");
        }
    }

    #[test]
    fn passwords_are_shown_nowhere() {
        for url in ["redis://me:hunter2@a:0", "redis://me:hunter2@a", "other://me:hunter2@a"] {
            let config = config(url, |_| ());
            let shown = format!("{config:?} {:?} {:?}", config.check_alone(), config.redis());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn files_are_read_and_what_is_wrong_with_them_names_their_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let mut config = config("rediss+sentinel://a/b", |_| ());
        config.password_file = file("password", "p w\n");
        config.sentinel.password_file = file("other", "\u{feff}s\r\nrotated by ops\r\n");
        config.tls.ca = file("ca", "");
        let (_, options) = config.redis().unwrap().unwrap();
        assert_eq!(options.password.as_ref().map(UrlSecret::reveal), Some("p w"));
        assert_eq!(options.sentinel_password.as_ref().map(UrlSecret::reveal), Some("s"));

        for (what, path) in [
            ("empty", file("empty", "\n")),
            ("long", file("long", &"a".repeat(5000))),
            ("missing", Some(directory.path().join("nowhere"))),
        ] {
            let mut config = config.clone();
            config.password_file = path;
            assert_eq!(config.redis().unwrap_err().0, "store.passwordFile", "{what}");
        }
        config.tls.ca = Some(directory.path().join("nowhere"));
        assert_eq!(config.redis().unwrap_err().0, "store.tls.ca");
        assert!(super::StoreConfig::default().redis().unwrap().is_none());
    }
}
