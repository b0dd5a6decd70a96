//! Settings of the store: where the registry is, and who the daemon is to the servers that keep it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::{
    self, StoreAdmission, StoreMember, StoreOpenError, StoreOpening, StorePlace, StoreSource,
};
use crate::redis::settings::{StoreRedisConfig, StoreSentinelConfig};
use crate::url::redacted;

/// The key of a setting that cannot be so, and why.
pub type InvalidStoreSetting = (&'static str, String);

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

impl StoreConfig {
    /// The settings of a store that needs none beside its URL.
    pub fn of_url(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }

    /// The store that these settings name, as far as it can be said without looking into files.
    ///
    /// # Errors
    /// The key of the setting that is wrong, and why.
    pub fn place(&self) -> Result<StorePlace, InvalidStoreSetting> {
        let place = backend::of(&self.url)?.place(self)?;
        let given = backend::all_settings().filter(|setting| (setting.is_given)(self));
        if let Some(stray) = given.into_iter().find(|setting| !place.has.contains(&setting.with)) {
            return Err((stray.key, format!("it means nothing here: `store.url` has no {}", stray.with)));
        }
        match (&self.tls.cert, &self.tls.key) {
            (Some(_), None) => Err(("store.tls.cert", "its key is missing: `store.tls.key`".to_owned())),
            (None, Some(_)) => {
                Err(("store.tls.key", "its certificate is missing: `store.tls.cert`".to_owned()))
            }
            (_, _) => Ok(place),
        }
    }

    /// The servers of the URL, with their ports; none for a store that has none.
    pub fn servers(&self) -> Vec<(String, u16)> {
        let servers = StorePlace::of_url(&self.url).map(|place| place.servers).unwrap_or_default();
        servers.into_iter().map(|server| (server.host, server.port)).collect()
    }

    /// Checks the settings and the files that they name, on the host that they are for.
    ///
    /// # Errors
    /// The key of the setting that is wrong, or of the file that cannot be used, and why.
    pub fn check_files(&self) -> Result<(), InvalidStoreSetting> {
        self.place()?;
        backend::of(&self.url)?.check_files(self)
    }

    /// Opens the store, or prepares the connections of each node to it: a server that cannot be reached is no error.
    ///
    /// # Errors
    /// When a setting is wrong, or what is kept on this host cannot be opened.
    pub fn open(&self, opening: &StoreOpening<'_>) -> Result<StoreSource, StoreOpenError> {
        self.place()?;
        backend::of(&self.url)?.open(self, opening)
    }

    /// Admission by which `member` uses the store and hands it to those who join; `None`: daemons of other hosts cannot use it.
    ///
    /// # Errors
    /// The key of the setting that is wrong, or of the file that cannot be used, and why.
    pub fn admission(&self, member: &StoreMember<'_>) -> Result<Option<StoreAdmission>, InvalidStoreSetting> {
        self.place()?;
        backend::of(&self.url)?.admission(self, member)
    }
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
        let mut config = StoreConfig::of_url(url);
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
            assert_eq!(config(url, change).place().unwrap_err().0, key, "{what}");
        }
        for url in ["embedded:", "memory:", "redis://a", "rediss://a,b/1", "rediss+sentinel://a/b"] {
            assert_eq!(config(url, |_| ()).place().err(), None, "{url}");
        }
    }

    #[test]
    fn what_means_nothing_says_with_what_it_would() {
        let told = |url, change| config(url, change).place().unwrap_err().1;
        assert_eq!(
            told("embedded:", |c| c.tls.ca = Some("a".into())),
            "it means nothing here: `store.url` has no TLS: rediss:// or rediss+sentinel://"
        );
        assert_eq!(
            told("memory:", |c| c.username = Some("a".into())),
            "it means nothing here: `store.url` has no a Redis URL"
        );
    }

    #[test]
    fn who_names_no_store_is_told_of_all_that_there_are() {
        assert_eq!(
            StoreConfig::of_url("postgres://me:hunter2@a").place().unwrap_err().1,
            "`postgres://me:***@a` is no store; it is `embedded:`, `memory:`, or a URL that begins with `redis://`, \
             `rediss://`, `redis+sentinel://` or `rediss+sentinel://`"
        );
    }

    #[test]
    fn passwords_are_shown_nowhere() {
        for url in ["redis://me:hunter2@a:0", "redis://me:hunter2@a", "other://me:hunter2@a"] {
            let config = config(url, |_| ());
            let shown = format!("{config:?} {:?} {:?}", config.place(), config.check_files());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
