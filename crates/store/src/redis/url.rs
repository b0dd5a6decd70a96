//! The URL of a Redis store: which servers to ask, and as whom.

mod redact;

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub use redact::redacted;

use crate::StoreCredentials;

/// What the keys of a store begin with, unless the URL says otherwise.
const PREFIX_DEFAULT: &str = "omnirelay";
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The most servers of one URL.
const SERVERS_MAX: usize = 32;
/// The longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 64;
/// The greatest number that Redis accepts as a database is configured; this is beyond all use.
const DATABASE_MAX: u32 = 65_535;

/// What is said of a secret that a document has as a number or a truth.
const UNQUOTED: &str = "it is no text; put it in quotes";

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlSecret(String);

/// Address on which a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerAddress {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

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

/// Reason why a text is no URL of a Redis store. Holds nothing of its user information, nor of its hosts: where the `@`
/// was forgotten, a password stands in the place of a port. Hosts are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error(
        "the scheme is none of `redis://`, `rediss://` (TLS), `redis+sentinel://` and `rediss+sentinel://`"
    )]
    Scheme,
    #[error("the user information is not percent-encoded UTF-8")]
    UserInformation,
    #[error(
        "an `@` stands behind the hosts; in a name or a password `/` is written `%2F`, `?` `%3F` and `#` `%23`"
    )]
    At,
    #[error("there is no host between commas or before the path")]
    NoHost,
    #[error("host {0} is none: a name, an IPv4 address, or an IPv6 address in brackets")]
    Host(usize),
    #[error("the port of host {0} is none: 1 to 65535")]
    Port(usize),
    #[error("there are more than {SERVERS_MAX} hosts")]
    TooMany,
    #[error("`{0}` is no database: 0 to {DATABASE_MAX}")]
    Database(String),
    #[error("the Sentinels' name of the service is missing: redis+sentinel://HOST/SERVICE")]
    NoService,
    #[error("`{0}` is no service: letters, digits, `.`, `-` and `_`")]
    Service(String),
    #[error("`{0}` goes on after the database")]
    Path(String),
    #[error("there is no option `{0}`; there is `prefix`")]
    Option(String),
    #[error("option `{0}` is given twice")]
    Twice(String),
    #[error("`{0}` is no prefix: 1 to {PREFIX_BYTES_MAX} letters, digits, `.`, `-`, `_` and `:`")]
    Prefix(String),
    #[error("a fragment (`#`) means nothing here")]
    Fragment,
}

/// The schemes, and of each whether it is of Sentinels and whether it is of TLS.
const SCHEMES: [(&str, bool, bool); 4] = [
    ("redis://", false, false),
    ("rediss://", false, true),
    ("redis+sentinel://", true, false),
    ("rediss+sentinel://", true, true),
];

impl RedisUrl {
    /// Whether the text has the scheme of a Redis store.
    pub fn is_meant(text: &str) -> bool {
        scheme(text).is_some()
    }

    /// The URL without its secrets: what an operator calls the store.
    pub fn name(&self) -> String {
        self.to_string()
    }

    /// The URL with these credentials in it, as a daemon is configured with it: it is to be shown to nobody else.
    pub fn revealing(&self, credentials: Option<&StoreCredentials>) -> String {
        let text = self.to_string();
        let Some(StoreCredentials { username, password }) = credentials else { return text };
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let password = if password.is_empty() { String::new() } else { format!(":{}", encode(password)) };
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", &text));
        format!("{scheme}://{}{password}@{rest}", encode(username))
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

/// User information and hosts, and what begins behind them with `/`, `?` or `#`.
fn split_authority(text: &str) -> (&str, &str) {
    text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()))
}

fn scheme(text: &str) -> Option<(bool, bool, &str)> {
    SCHEMES.iter().find_map(|(scheme, sentinel, tls)| {
        let begin = text.get(..scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then(|| (*sentinel, *tls, &text[scheme.len()..]))
    })
}

impl FromStr for RedisUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (sentinel, tls, rest) = scheme(text).ok_or(UrlError::Scheme)?;
        let (authority, rest) = split_authority(rest);
        // None belongs there, so the password is one that was not encoded: no error may show it, and
        // no part of it may be taken for a host.
        if rest.contains('@') {
            return Err(UrlError::At);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let (username, password) = user_information(user)?;
        let addresses = addresses(hosts, if sentinel { SENTINEL_PORT } else { REDIS_PORT })?;
        let (servers, database) = if sentinel {
            let (service, database) = path.split_once('/').unwrap_or((path, ""));
            (StoreServers::Sentinels { sentinels: addresses, service: check_service(service)? }, database)
        } else {
            (StoreServers::Redis(addresses), path)
        };
        let database = read_database(database)?;
        Ok(Self { servers, tls, username, password, database, prefix: prefix(query)? })
    }
}

fn user_information(text: &str) -> Result<(Option<String>, Option<UrlSecret>), UrlError> {
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().map_err(|_| UrlError::UserInformation)?;
        Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
    };
    let (name, password) = text.split_once(':').unwrap_or((text, ""));
    Ok((decoded(name)?, decoded(password)?.map(UrlSecret)))
}

fn addresses(text: &str, port: u16) -> Result<Vec<ServerAddress>, UrlError> {
    let addresses: Vec<ServerAddress> =
        text.split(',').zip(1..).map(|(part, at)| address(part, at, port)).collect::<Result<_, _>>()?;
    if addresses.len() > SERVERS_MAX { Err(UrlError::TooMany) } else { Ok(addresses) }
}

fn address(text: &str, at: usize, default: u16) -> Result<ServerAddress, UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or(UrlError::Host(at))?;
            host.parse::<Ipv6Addr>().map_err(|_| UrlError::Host(at))?;
            match behind.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if behind.is_empty() => (host, None),
                None => return Err(UrlError::Host(at)),
            }
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            check_host(host, at)?;
            (host, port)
        }
    };
    let port = port.map_or(Some(default), read_port).ok_or(UrlError::Port(at))?;
    Ok(ServerAddress { host: host.to_owned(), port })
}

fn check_host(host: &str, at: usize) -> Result<(), UrlError> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    if host.len() > 253 || !host.bytes().all(letter) { Err(UrlError::Host(at)) } else { Ok(()) }
}

fn read_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| *port > 0 && !text.starts_with('+'))
}

fn check_service(text: &str) -> Result<String, UrlError> {
    if text.is_empty() {
        return Err(UrlError::NoService);
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().all(letter).then(|| text.to_owned()).ok_or_else(|| UrlError::Service(text.to_owned()))
}

fn read_database(text: &str) -> Result<u32, UrlError> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Some((_, behind)) = text.split_once('/') {
        return Err(UrlError::Path(format!("/{behind}")));
    }
    let number = text.parse().ok().filter(|number| *number <= DATABASE_MAX && !text.starts_with('+'));
    number.ok_or_else(|| UrlError::Database(text.to_owned()))
}

fn prefix(query: &str) -> Result<String, UrlError> {
    let mut prefix = PREFIX_DEFAULT.to_owned();
    let mut seen = BTreeSet::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if key != "prefix" {
            return Err(UrlError::Option(key.to_owned()));
        }
        if !seen.insert(key) {
            return Err(UrlError::Twice(key.to_owned()));
        }
        prefix = check_prefix(value)?;
    }
    Ok(prefix)
}

/// Neither braces, which would move the hash tag, nor anything that a shell or an ACL pattern reads.
fn check_prefix(text: &str) -> Result<String, UrlError> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let sound = (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(letter);
    sound.then(|| text.to_owned()).ok_or_else(|| UrlError::Prefix(text.to_owned()))
}

impl UrlSecret {
    /// Wraps what must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Shows that there is one, and not which.
impl serde::Serialize for UrlSecret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> serde::Deserialize<'de> for UrlSecret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretText)
    }
}

/// Reads a secret, and repeats nothing of what is none.
struct SecretText;

impl serde::de::Visitor<'_> for SecretText {
    type Value = UrlSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<UrlSecret, E> {
        Ok(UrlSecret::new(text))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<UrlSecret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<UrlSecret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<UrlSecret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<UrlSecret, E> {
        Err(E::custom(UNQUOTED))
    }
}

impl fmt::Debug for UrlSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
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

    fn read(text: &str) -> Result<RedisUrl, UrlError> {
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
        use UrlError as E;
        let of = |text: &str| text.to_owned();
        let cases = [
            ("another scheme", "http://a", E::Scheme),
            ("no scheme", "a:6379", E::Scheme),
            ("no host", "redis://", E::NoHost),
            ("no host before the path", "redis:///1", E::NoHost),
            ("no host behind a comma", "redis://a,", E::NoHost),
            ("port 0", "redis://a:0", E::Port(1)),
            ("a great port", "redis://b,a:65536", E::Port(2)),
            ("no port behind a colon", "redis://a:", E::Port(1)),
            ("IPv6 without brackets", "redis://::1", E::NoHost),
            ("a broken bracket", "redis://[::1", E::Host(1)),
            ("not IPv6", "redis://[a]", E::Host(1)),
            ("a blank", "redis://a,b,a b", E::Host(3)),
            ("a word as database", "redis://a/x", E::Database(of("x"))),
            ("a negative database", "redis://a/-1", E::Database(of("-1"))),
            ("a longer path", "redis://a/1/2", E::Path(of("/2"))),
            ("no service", "redis+sentinel://a", E::NoService),
            ("no service before the database", "redis+sentinel://a//1", E::NoService),
            ("an unknown option", "redis://a?timeout=1", E::Option(of("timeout"))),
            ("an option twice", "redis://a?prefix=a&prefix=b", E::Twice(of("prefix"))),
            ("an empty prefix", "redis://a?prefix=", E::Prefix(of(""))),
            ("braces in the prefix", "redis://a?prefix={a}", E::Prefix(of("{a}"))),
            ("a fragment", "redis://h#b", E::Fragment),
            ("a fragment before the path", "redis://h#/0", E::Fragment),
            ("not UTF-8", "redis://u:%ff@h", E::UserInformation),
            ("an at sign in an option", "redis://u:p@h/0?prefix=a@b", E::At),
            ("an at sign in the path", "redis://u:p@h/0@b", E::At),
            ("a slash in a password", "redis://u:p/1@h", E::At),
            ("a question mark in a password", "redis://u:p?1@h", E::At),
            ("a number sign in a password", "redis://u:p#1@h", E::At),
            ("a password in place of a port", "redis://:secret", E::NoHost),
            ("a password behind a name", "redis://me:secret", E::Port(1)),
        ];
        for (what, text, error) in cases {
            assert_eq!(read(text), Err(error), "{what}");
        }
        let many = format!("redis://{}", vec!["a"; SERVERS_MAX + 1].join(","));
        assert_eq!(read(&many), Err(UrlError::TooMany));
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
