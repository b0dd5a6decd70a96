//! Options of a link beside its URL.

use std::path::PathBuf;
use std::time::Duration;

use crate::url::UrlSecret;

/// Files in PEM. They are read anew for each connection, so that new ones can be put in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that may have signed the server's certificate; `None`: the public ones.
    pub ca: Option<PathBuf>,
    /// The certificate to show, with its chain; `None`: none.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
}

/// Options of the Redis store: who the daemon is to the servers, and how long it waits for them.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Wins over the URL's.
    pub username: Option<String>,
    /// Wins over the URL's.
    pub password: Option<UrlSecret>,
    /// To the Sentinels, whose users are their own.
    pub sentinel_username: Option<String>,
    pub sentinel_password: Option<UrlSecret>,
    pub tls: TlsFiles,
    /// The part of the keys between braces, which decides their place in a Cluster; `None`: the
    /// URL's prefix.
    pub hash_tag: Option<String>,
    /// How many replicas must have a lease before its leader relies on it; `None`: as many as the store finds
    /// necessary, where Sentinels say who is the master, and none elsewhere.
    pub leaders_need: Option<u32>,
    /// How long a server may take to accept a connection, TLS included; 400 ms. Too low: a distant
    /// server is never reached; too high: an outage is noticed late.
    pub connect_timeout: Duration,
    /// How long a server may take to answer a command; 400 ms. Too low: outcomes of commits stay
    /// unknown on a busy server; too high: an outage is noticed late.
    pub response_timeout: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            tls: TlsFiles::default(),
            hash_tag: None,
            leaders_need: None,
            connect_timeout: Duration::from_millis(400),
            response_timeout: Duration::from_millis(400),
        }
    }
}
