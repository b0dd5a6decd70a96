//! The connections to daemons, by TCP and to unix sockets, and the token that goes along.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_wire::reasons;
use reqwest::header::HeaderValue;
use rustls::ClientConfig;

use super::grpc;
use super::proxies::Proxies;
use super::reached::ReachedFlag;
use crate::frame::address::Address;
use crate::frame::error::{CliError, chain};
use crate::frame::failure::CallFailure;
use crate::frame::settings::{CommandSettings, CommandTarget, ValueSource};
use crate::frame::tls_files;

/// Longer files hold no token.
const TOKEN_FILE_BYTES_MAX: u64 = 256 * 1024;

/// Connections to one address: for HTTP/JSON and event streams, and for gRPC.
#[derive(Clone, Debug)]
pub struct DaemonConnections {
    pub http: reqwest::Client,
    pub grpc: reqwest::Client,
    /// Whether there was ever one.
    pub reached: ReachedFlag,
    /// The proxy that calls over HTTP/JSON go through; `None`: there is none.
    pub proxy: Option<String>,
}

impl DaemonConnections {
    fn of(
        connect_timeout: Duration,
        address: &Address,
        proxies: &Proxies,
        tls: &ClientConfig,
    ) -> Result<Self, CliError> {
        let (reached, proxy) = (ReachedFlag::default(), proxies.to(address));
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .connect_timeout(connect_timeout)
            .connector_layer(reached.clone())
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("omnirelay/", env!("CARGO_PKG_VERSION")));
        if proxy.is_none() {
            http = http.no_proxy();
        }
        if let Some(socket) = address.socket() {
            http = http.unix_socket(socket);
        }
        let http = http
            .build()
            .map_err(|error| CliError::local(reasons::CLIENT, "cannot prepare the HTTP client", &error))?;
        let grpc = grpc::transport(connect_timeout, address.socket(), tls, reached.clone())?;
        Ok(Self { http, grpc, reached, proxy })
    }

    /// Failure of a call that was not answered in time: where there was never a connection, nothing was sent.
    pub fn late(&self) -> CallFailure {
        if self.reached.is_so() { CallFailure::timeout() } else { CallFailure::connect_timeout() }
    }
}

/// The connections of a client.
#[derive(Clone, Debug)]
pub(super) struct ClientConnections {
    connect_timeout: Duration,
    /// Whom connections under TLS believe, and what they show.
    tls: ClientConfig,
    proxies: Arc<Proxies>,
    /// By the text of their addresses.
    lines: BTreeMap<String, DaemonConnections>,
    /// To the first of them.
    first: DaemonConnections,
}

impl ClientConnections {
    /// Those to these addresses. Connects to nothing yet.
    pub(super) fn of(settings: &CommandSettings, target: &CommandTarget) -> Result<Self, CliError> {
        let (connect_timeout, addresses) = (settings.connect_timeout, &target.addresses);
        let tls = match addresses.iter().any(Address::is_tls) {
            true => target.tls.config(settings.believes_anybody)?,
            false => tls_files::plaintext(),
        };
        let proxies = Arc::new(Proxies::of(&settings.env));
        let built_in = Address::built_in();
        let first =
            DaemonConnections::of(connect_timeout, addresses.first().unwrap_or(&built_in), &proxies, &tls)?;
        let lines =
            addresses.first().map(|address| (address.to_string(), first.clone())).into_iter().collect();
        Self { connect_timeout, tls, proxies, lines, first }.and(addresses)
    }

    /// With those to these addresses as well.
    pub(super) fn and(mut self, addresses: &[Address]) -> Result<Self, CliError> {
        for address in addresses {
            if !self.lines.contains_key(address.as_str()) {
                let line = DaemonConnections::of(self.connect_timeout, address, &self.proxies, &self.tls)?;
                self.lines.insert(address.to_string(), line);
            }
        }
        Ok(self)
    }

    /// Time that a connection may take to be made.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Those to one of the addresses.
    pub(super) fn to(&self, address: &Address) -> &DaemonConnections {
        self.lines.get(address.as_str()).unwrap_or(&self.first)
    }
}

/// The header by which a token proves the caller; `None` where the target has none.
///
/// An address that the mesh told, and nobody configured, may be anybody's: it gets no token.
///
/// # Errors
/// When the file cannot be read, or holds none.
pub(super) fn proof(target: &CommandTarget) -> Result<Option<HeaderValue>, CliError> {
    match (&target.token_file, target.source) {
        (None, _) | (_, ValueSource::Peer | ValueSource::Relay) => Ok(None),
        (Some(path), _) => header(path).map(Some),
    }
}

fn header(path: &Path) -> Result<HeaderValue, CliError> {
    let refuse = |cause: String| {
        let message = format!("cannot use the token file {}", path.display());
        CliError::new(reasons::TOKEN_FILE, message)
            .cause(cause)
            .hint("name the token file of the daemon, or one with a token of it, with --token-file")
    };
    let length = std::fs::metadata(path).map_err(|error| refuse(chain(&error)))?.len();
    if length > TOKEN_FILE_BYTES_MAX {
        return Err(refuse(format!("it is longer than {TOKEN_FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(chain(&error)))?;
    let token = token_of(&text).ok_or_else(|| refuse("it holds no token".to_owned()))?;
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| refuse("what it holds is no token".to_owned()))?;
    // So that nothing that prints headers shows it.
    value.set_sensitive(true);
    Ok(value)
}

/// The first token of a file: a line `TOKEN`, or one of a daemon, `NAME TOKEN [SCOPE...]`.
pub(crate) fn token_of(text: &str) -> Option<&str> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    Some(words.next().unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_of_a_file_counts() {
        let cases = [
            ("abc\n", Some("abc")),
            ("# of the daemon\n\nops abc mesh.read\nother def\n", Some("abc")),
            ("\n# none\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(token_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown_and_not_sent_where_the_mesh_leads() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ops secret\n").unwrap();
        let target = |source| CommandTarget {
            token_file: Some(file.path().to_owned()),
            ..CommandTarget::bare(vec![Address::built_in()], source)
        };
        let value = proof(&target(ValueSource::File)).unwrap().unwrap();
        assert_eq!(value, "Bearer secret");
        assert!(!format!("{value:?}").contains("secret"));
        for source in [ValueSource::Peer, ValueSource::Relay] {
            assert_eq!(proof(&target(source)).unwrap(), None, "{source}");
        }
    }

    #[test]
    fn a_file_that_is_no_token_file_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ops a\u{1b}b\n").unwrap();
        let error = header(file.path()).unwrap_err().to_text();
        assert!(error.contains("what it holds is no token"), "{error}");
        let error = header(Path::new("/no/such/file")).unwrap_err();
        assert_eq!((error.exit() as u8, error.reason()), (2, "TOKEN_FILE"));
    }
}
