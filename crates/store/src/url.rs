//! URLs of stores: their parts, the servers that they name, and how they may be shown.
//!
//! `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/PATH][?OPTION=VALUE[&...]]`. A backend has schemes, a port
//! that servers have by default, and a meaning for the path and the options.

mod redact;
mod secret;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub use redact::redacted;
pub use secret::UrlSecret;

use crate::StoreCredentials;

/// The most servers of one URL.
const SERVERS_MAX: usize = 32;
/// The longest name of a host, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// Address on which a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerAddress {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

/// Parts of a URL behind its scheme.
#[derive(Debug)]
pub(crate) struct UrlParts<'a> {
    /// Never empty.
    pub username: Option<String>,
    pub password: Option<UrlSecret>,
    /// At least one, in their order.
    pub servers: Vec<ServerAddress>,
    /// Without the `/` that it begins with; may be empty.
    pub path: &'a str,
    pub options: BTreeMap<&'a str, &'a str>,
}

/// Reason why a text is no URL of servers. Holds nothing of its user information, nor of its hosts: where the `@`
/// was forgotten, a password stands in the place of a port. Hosts are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
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
    #[error("there is no option `{given}`; there is `{known}`")]
    Option { given: String, known: String },
    #[error("option `{0}` is given twice")]
    Twice(String),
    #[error("a fragment (`#`) means nothing here")]
    Fragment,
}

/// The text behind `scheme`, which may be in capitals there; `None`: it has another one.
pub(crate) fn behind_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let begin = text.get(..scheme.len())?;
    begin.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

/// The URL, which has no user information, with these credentials in it.
pub(crate) fn with_credentials(url: &str, credentials: &StoreCredentials) -> String {
    let StoreCredentials { username, password } = credentials;
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let password = if password.is_empty() { String::new() } else { format!(":{}", encode(password)) };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    format!("{scheme}://{}{password}@{rest}", encode(username))
}

impl<'a> UrlParts<'a> {
    /// Reads what is behind a scheme. Servers without a port have `port`; `options` are those that there are.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn read(rest: &'a str, port: u16, options: &[&str]) -> Result<Self, UrlError> {
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
        let servers = addresses(hosts, port)?;
        Ok(Self { username, password, servers, path, options: given_options(query, options)? })
    }
}

impl ServerAddress {
    /// Whether no other host than this one can reach it by this address.
    pub fn is_of_this_host(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
            Err(_) => self.host == "localhost",
        }
    }
}

/// User information and hosts, and what begins behind them with `/`, `?` or `#`.
fn split_authority(text: &str) -> (&str, &str) {
    text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()))
}

fn user_information(text: &str) -> Result<(Option<String>, Option<UrlSecret>), UrlError> {
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().map_err(|_| UrlError::UserInformation)?;
        Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
    };
    let (name, password) = text.split_once(':').unwrap_or((text, ""));
    Ok((decoded(name)?, decoded(password)?.map(UrlSecret::new)))
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
    if host.len() > HOST_BYTES_MAX || !host.bytes().all(letter) { Err(UrlError::Host(at)) } else { Ok(()) }
}

fn read_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| *port > 0 && !text.starts_with('+'))
}

fn given_options<'a>(query: &'a str, known: &[&str]) -> Result<BTreeMap<&'a str, &'a str>, UrlError> {
    let mut options = BTreeMap::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if !known.contains(&name) {
            return Err(UrlError::Option { given: name.to_owned(), known: known.join("`, `") });
        }
        if options.insert(name, value).is_some() {
            return Err(UrlError::Twice(name.to_owned()));
        }
    }
    Ok(options)
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_that_the_backend_has() {
        let read = |text| UrlParts::read(text, 1, &["prefix", "retries"]).map(|parts| parts.options);
        assert_eq!(
            read("a?retries=3&prefix=b").unwrap(),
            BTreeMap::from([("prefix", "b"), ("retries", "3")])
        );
        assert_eq!(read("a?retries=3&retries=3"), Err(UrlError::Twice("retries".to_owned())));
        let unknown = read("a?x=3").unwrap_err();
        assert_eq!(unknown.to_string(), "there is no option `x`; there is `prefix`, `retries`");
    }

    #[test]
    fn a_host_of_this_machine_is_told_from_others() {
        let cases = [
            ("localhost", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("0.0.0.0", true),
            ("10.0.0.1", false),
            ("redis", false),
        ];
        for (host, expected) in cases {
            let address = ServerAddress { host: host.to_owned(), port: 1 };
            assert_eq!(address.is_of_this_host(), expected, "{host}");
        }
    }
}
