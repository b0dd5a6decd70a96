//! The URL of a Redis store: which servers to ask, and as whom.

use std::fmt;
use std::str::FromStr;

use crate::StoreCredentials;
use crate::url::{ServerAddress, UrlError, UrlParts, UrlSecret, behind_scheme, with_credentials};

/// What the keys of a store begin with, unless the URL says otherwise.
const PREFIX_DEFAULT: &str = "omnirelay";
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 64;
/// The greatest number that Redis accepts as a database is configured; this is beyond all use.
const DATABASE_MAX: u32 = 65_535;

/// What a URL of this store begins with: of servers or of Sentinels, with TLS or without it.
pub(crate) const SCHEMES: [&str; 4] = ["redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://"];

/// Servers that the URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreServers {
    /// Redis servers, one of which is the master; or nodes of a Cluster, which the connection
    /// finds out by itself.
    Redis(Vec<ServerAddress>),
    /// Sentinels that know where the master of `service` is.
    Sentinels { sentinels: Vec<ServerAddress>, service: String },
}

/// A URL in its parts. Shown without its secrets, whichever way it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub servers: StoreServers,
    /// True: TLS to the servers, and to the Sentinels.
    pub tls: bool,
    pub username: Option<String>,
    pub password: Option<UrlSecret>,
    /// 0 unless given; a Cluster has 0 only.
    pub database: u32,
    /// What every key begins with.
    pub prefix: String,
}

/// Reason why a text is no URL of a Redis store. Holds nothing of its user information.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    #[error(
        "the scheme is none of `redis://`, `rediss://` (TLS), `redis+sentinel://` and `rediss+sentinel://`"
    )]
    Scheme,
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error("`{0}` is no database: 0 to {DATABASE_MAX}")]
    Database(String),
    #[error("the Sentinels' name of the service is missing: redis+sentinel://HOST/SERVICE")]
    NoService,
    #[error("`{0}` is no service: letters, digits, `.`, `-` and `_`")]
    Service(String),
    #[error("`{0}` goes on after the database")]
    Path(String),
    #[error("`{0}` is no prefix: 1 to {PREFIX_BYTES_MAX} letters, digits, `.`, `-`, `_` and `:`")]
    Prefix(String),
}

impl RedisUrl {
    /// The URL without its secrets: what an operator calls the store.
    pub fn name(&self) -> String {
        self.to_string()
    }

    /// The URL with these credentials in it, as a daemon is configured with it: it is to be shown to nobody else.
    pub fn revealing(&self, credentials: Option<&StoreCredentials>) -> String {
        match credentials {
            Some(credentials) => with_credentials(&self.to_string(), credentials),
            None => self.to_string(),
        }
    }

    /// Every server of the URL, in its order.
    pub fn addresses(&self) -> &[ServerAddress] {
        match &self.servers {
            StoreServers::Redis(addresses) | StoreServers::Sentinels { sentinels: addresses, .. } => {
                addresses
            }
        }
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let found = SCHEMES.iter().find_map(|scheme| Some((*scheme, behind_scheme(text, scheme)?)));
        let (scheme, rest) = found.ok_or(RedisUrlError::Scheme)?;
        let (sentinel, tls) = (scheme.contains("+sentinel"), scheme.starts_with("rediss"));
        let port = if sentinel { SENTINEL_PORT } else { REDIS_PORT };
        let UrlParts { username, password, servers, path, options } =
            UrlParts::read(rest, port, &["prefix"])?;
        let (servers, database) = if sentinel {
            let (service, database) = path.split_once('/').unwrap_or((path, ""));
            (StoreServers::Sentinels { sentinels: servers, service: check_service(service)? }, database)
        } else {
            (StoreServers::Redis(servers), path)
        };
        let database = read_database(database)?;
        let prefix = check_prefix(options.get("prefix").copied().unwrap_or(PREFIX_DEFAULT))?;
        Ok(Self { servers, tls, username, password, database, prefix })
    }
}

fn check_service(text: &str) -> Result<String, RedisUrlError> {
    if text.is_empty() {
        return Err(RedisUrlError::NoService);
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let sound = text.bytes().all(letter);
    sound.then(|| text.to_owned()).ok_or_else(|| RedisUrlError::Service(text.to_owned()))
}

fn read_database(text: &str) -> Result<u32, RedisUrlError> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Some((_, behind)) = text.split_once('/') {
        return Err(RedisUrlError::Path(format!("/{behind}")));
    }
    let number = text.parse().ok().filter(|number| *number <= DATABASE_MAX && !text.starts_with('+'));
    number.ok_or_else(|| RedisUrlError::Database(text.to_owned()))
}

/// Neither braces, which would move the hash tag, nor anything that a shell or an ACL pattern reads.
fn check_prefix(text: &str) -> Result<String, RedisUrlError> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let sound = (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(letter);
    sound.then(|| text.to_owned()).ok_or_else(|| RedisUrlError::Prefix(text.to_owned()))
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss" } else { "redis" })?;
        f.write_str(match self.servers {
            StoreServers::Redis(_) => "://",
            StoreServers::Sentinels { .. } => "+sentinel://",
        })?;
        for (at, address) in self.addresses().iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { "" } else { "," })?;
        }
        if let StoreServers::Sentinels { service, .. } = &self.servers {
            write!(f, "/{service}")?;
        }
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
        }
        if self.prefix != PREFIX_DEFAULT {
            write!(f, "?prefix={}", self.prefix)?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::redacted;

    fn read(text: &str) -> Result<RedisUrl, RedisUrlError> {
        text.parse()
    }

    #[test]
    fn urls_are_read_and_shown() {
        let cases = [
            ("defaults", "redis://a", "redis://a:6379"),
            ("port and database", "redis://a:1/2", "redis://a:1/2"),
            ("several servers", "rediss://a,b:7000/", "rediss://a:6379,b:7000"),
            ("IPv6", "redis://[::1],[fd00::1]:7/", "redis://[::1]:6379,[fd00::1]:7"),
            ("sentinels", "redis+sentinel://a,b:7/main", "redis+sentinel://a:26379,b:7/main"),
            ("sentinels, database", "rediss+sentinel://a/m/3", "rediss+sentinel://a:26379/m/3"),
            ("prefix", "redis://a?prefix=eu:1", "redis://a:6379?prefix=eu:1"),
            ("scheme in capitals", "REDIS://a", "redis://a:6379"),
            ("an empty user", "redis://@a", "redis://a:6379"),
            ("database 0", "redis://a/0", "redis://a:6379"),
        ];
        for (what, text, shown) in cases {
            assert_eq!(read(text).map(|url| url.name()), Ok(shown.to_owned()), "{what}");
        }
    }

    #[test]
    fn faults_are_named() {
        use RedisUrlError as E;
        use UrlError as U;
        let of = |text: &str| text.to_owned();
        let cases = [
            ("another scheme", "http://a", E::Scheme),
            ("no scheme", "a:6379", E::Scheme),
            ("no host", "redis://", E::Url(U::NoHost)),
            ("no host before the path", "redis:///1", E::Url(U::NoHost)),
            ("no host behind a comma", "redis://a,", E::Url(U::NoHost)),
            ("port 0", "redis://a:0", E::Url(U::Port(1))),
            ("a great port", "redis://b,a:65536", E::Url(U::Port(2))),
            ("no port behind a colon", "redis://a:", E::Url(U::Port(1))),
            ("IPv6 without brackets", "redis://::1", E::Url(U::NoHost)),
            ("a broken bracket", "redis://[::1", E::Url(U::Host(1))),
            ("not IPv6", "redis://[a]", E::Url(U::Host(1))),
            ("a blank", "redis://a,b,a b", E::Url(U::Host(3))),
            ("a word as database", "redis://a/x", E::Database(of("x"))),
            ("a negative database", "redis://a/-1", E::Database(of("-1"))),
            ("a longer path", "redis://a/1/2", E::Path(of("/2"))),
            ("no service", "redis+sentinel://a", E::NoService),
            ("no service before the database", "redis+sentinel://a//1", E::NoService),
            (
                "an unknown option",
                "redis://a?timeout=1",
                E::Url(U::Option { given: of("timeout"), known: of("prefix") }),
            ),
            ("an option twice", "redis://a?prefix=a&prefix=b", E::Url(U::Twice(of("prefix")))),
            ("an empty prefix", "redis://a?prefix=", E::Prefix(of(""))),
            ("braces in the prefix", "redis://a?prefix={a}", E::Prefix(of("{a}"))),
            ("a fragment", "redis://h#b", E::Url(U::Fragment)),
            ("a fragment before the path", "redis://h#/0", E::Url(U::Fragment)),
            ("not UTF-8", "redis://u:%ff@h", E::Url(U::UserInformation)),
            ("an at sign in an option", "redis://u:p@h/0?prefix=a@b", E::Url(U::At)),
            ("an at sign in the path", "redis://u:p@h/0@b", E::Url(U::At)),
            ("a slash in a password", "redis://u:p/1@h", E::Url(U::At)),
            ("a question mark in a password", "redis://u:p?1@h", E::Url(U::At)),
            ("a number sign in a password", "redis://u:p#1@h", E::Url(U::At)),
            ("a password in place of a port", "redis://:secret", E::Url(U::NoHost)),
            ("a password behind a name", "redis://me:secret", E::Url(U::Port(1))),
        ];
        for (what, text, error) in cases {
            assert_eq!(read(text), Err(error), "{what}");
        }
        let many = format!("redis://{}", vec!["a"; 33].join(","));
        assert_eq!(read(&many), Err(RedisUrlError::Url(UrlError::TooMany)));
    }

    #[test]
    fn user_information_is_decoded() {
        let cases = [
            ("both", "redis://me:p%40ss%3a@h", Some("me"), Some("p@ss:")),
            ("password alone", "redis://:pass@h", None, Some("pass")),
            ("user alone", "redis://me@h", Some("me"), None),
            ("an at sign that was not encoded", "redis://me:p@ss@h", Some("me"), Some("p@ss")),
            ("what must be encoded", "redis://me:p%2f1%3f%23@h", Some("me"), Some("p/1?#")),
        ];
        for (what, text, username, password) in cases {
            let url = read(text).unwrap();
            assert_eq!(url.username.as_deref(), username, "{what}");
            assert_eq!(url.password.as_ref().map(UrlSecret::reveal), password, "{what}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "rediss://me:hunter2@a,b/1?prefix=x";
        let url = read(text).unwrap();
        for shown in [url.name(), format!("{url:?}"), format!("{:?}", url.password), redacted(text)] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn credentials_come_back_out_of_the_url_that_they_were_put_into() {
        for text in ["redis://a:1", "rediss://a:1,b:2/3?prefix=eu", "redis+sentinel://[::1]:3/mesh"] {
            let url: RedisUrl = text.parse().unwrap();
            let credentials =
                StoreCredentials { username: "omnirelay_eu-1_b".into(), password: "p:@/?#%\u{e9}".into() };
            let back: RedisUrl = url.revealing(Some(&credentials)).parse().unwrap();
            assert_eq!(back.username.as_deref(), Some("omnirelay_eu-1_b"), "{text}");
            assert_eq!(back.password.as_ref().map(UrlSecret::reveal), Some("p:@/?#%\u{e9}"), "{text}");
            assert_eq!((back.to_string(), url.revealing(None)), (url.to_string(), url.to_string()));
        }
    }
}
