//! The address of a daemon: a URL with its scheme, without a trailing slash, or a unix socket.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;

/// Where the daemon of the package's unit listens for those who administer its host.
pub(crate) const SOCKET_OF_UNIT: &str = "/run/omnirelay/control.sock";

/// The address that is used when nothing says otherwise.
pub(crate) const BUILT_IN: &str = "http://127.0.0.1:17420";

/// What requests at a unix socket are sent to: HTTP wants a host, and a daemon there goes by this one.
const AT_SOCKET: &str = "http://localhost";
/// The longest path that the system has room for, in bytes.
const SOCKET_BYTES_MAX: usize = 107;

/// Address of a daemon's control port, of its control socket, or of a relay's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    loopback: bool,
    tls: bool,
    /// The path, where it is a unix socket.
    socket: Option<PathBuf>,
}

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("`{0}` is no address: write http://HOST:PORT, https://HOST:PORT or unix:/PATH")]
    Syntax(String),
    #[error("`{0}`: this version speaks http and https, not {1}")]
    Scheme(String, String),
    #[error("`{0}`: the path of a unix socket begins with a slash and has at most {SOCKET_BYTES_MAX} bytes")]
    Socket(String),
}

impl Address {
    /// The built-in address of a development daemon.
    pub fn built_in() -> Self {
        Self { text: BUILT_IN.to_owned(), loopback: true, tls: false, socket: None }
    }

    /// With scheme, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Authority of the address, such as `HOST:PORT`: all that is behind the scheme.
    pub fn authority(&self) -> &str {
        self.text.split_once("://").map_or(&self.text, |(_, authority)| authority)
    }

    /// Base that the path of a request is put behind.
    pub fn base(&self) -> &str {
        if self.socket.is_some() { AT_SOCKET } else { &self.text }
    }

    /// The unix socket, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it is on this machine, so that no proxy can be meant.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return at_socket(text, path.strip_prefix("//").unwrap_or(path));
        }
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let syntax = || AddressError::Syntax(text.to_owned());
        let url = Url::parse(&full).map_err(|_| syntax())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(syntax)?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(AddressError::Scheme(text.to_owned(), other.to_owned())),
        };
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || url.query().is_some() || url.fragment().is_some() {
            return Err(syntax());
        }
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let loopback = ip.map_or(host == "localhost", |ip| ip.is_loopback());
        Ok(Self { text: full.trim_end_matches('/').to_owned(), loopback, tls, socket: None })
    }
}

fn at_socket(text: &str, path: &str) -> Result<Address, AddressError> {
    if !path.starts_with('/') || path.len() > SOCKET_BYTES_MAX || path.contains('\0') {
        return Err(AddressError::Socket(text.to_owned()));
    }
    Ok(Address { text: format!("unix:{path}"), loopback: true, tls: false, socket: Some(path.into()) })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed_and_checked() {
        let long = format!("unix:/{}", "x".repeat(107));
        let cases = [
            ("scheme is added", "127.0.0.1:1", Ok(("http://127.0.0.1:1", true))),
            ("slash is taken off", "http://eu-ctl:17420/", Ok(("http://eu-ctl:17420", false))),
            ("name of this machine", "localhost:1", Ok(("http://localhost:1", true))),
            ("IPv6", "http://[::1]:1", Ok(("http://[::1]:1", true))),
            ("a socket", "unix:/run/omnirelay.sock", Ok(("unix:/run/omnirelay.sock", true))),
            ("a socket as a URL", "unix:///run/a b.sock", Ok(("unix:/run/a b.sock", true))),
            ("a relative socket", "unix:omnirelay.sock", Err("begins with a slash")),
            ("no socket", "unix:", Err("begins with a slash")),
            ("a long socket", &long, Err("at most 107 bytes")),
            ("TLS", "https://a:1/", Ok(("https://a:1", false))),
            ("other scheme", "ftp://a:1", Err("speaks http and https")),
            ("nothing", "", Err("is no address")),
            ("password", "http://u:p@a:1", Err("is no address")),
        ];
        for (what, text, expected) in cases {
            match (text.parse::<Address>(), expected) {
                (Ok(address), Ok((text, loopback))) => {
                    assert_eq!((address.as_str(), address.is_loopback()), (text, loopback), "{what}");
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{what}: {error}"),
                (got, _) => panic!("{what}: {got:?}"),
            }
        }
    }

    #[test]
    fn tls_is_spoken_where_it_is_said() {
        let told = |text: &str| text.parse().map(|address: Address| (address.to_string(), address.is_tls()));
        assert_eq!(told("relay-1:50051"), Ok(("http://relay-1:50051".to_owned(), false)));
        assert_eq!(told("https://[fd00::7]:50051/"), Ok(("https://[fd00::7]:50051".to_owned(), true)));
        assert!(told("https://").is_err() && told("http://u:p@h:1").is_err());
    }
}
