//! Certificates that a server shows in a TLS handshake, without believing them, and whether they would be believed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_wire::tls::ClientTls;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::frame::error::chain;
use crate::frame::prelude::*;
use crate::frame::tls_files::TlsFiles;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// Without brackets.
    host: String,
    port: u16,
}

impl FromStr for HostPort {
    type Err = ();

    /// `HOST:PORT`, `[ADDRESS]:PORT`, or an `https://` URL of these.
    fn from_str(text: &str) -> Result<Self, ()> {
        let bare = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = bare.rsplit_once(':').ok_or(())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = !host.is_empty() && !host.contains(['/', ' ', '@']);
        let port = port.parse().ok().filter(|_| is_host).ok_or(())?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Certificates that a server has shown.
pub(crate) struct ServerCertificates {
    /// The certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Such as `TLSv1.3`.
    pub version: String,
    /// Why a command with these files would not believe it.
    pub distrust: Option<String>,
}

/// Asks a server for what it shows. Nothing is shown to it, and nothing is sent but the handshake.
///
/// # Errors
/// When there is nobody, or no TLS is spoken there; when the files of whom to believe cannot be used.
pub(crate) async fn ask(
    endpoint: &HostPort,
    tls: &TlsFiles,
    patience: Duration,
) -> Result<ServerCertificates, CliError> {
    let asked = tokio::time::timeout(patience, shake(endpoint)).await;
    let (chain, version) = asked.unwrap_or_else(|_| {
        let within = humantime::format_duration(patience);
        Err(refuse(endpoint, format!("no handshake within {within}")))
    })?;
    let distrust = tls.distrust(&chain, &endpoint.host)?;
    Ok(ServerCertificates { chain, version, distrust })
}

async fn shake(endpoint: &HostPort) -> Result<(Vec<CertificateDer<'static>>, String), CliError> {
    let tls = ClientTls { believes_anybody: true, ..ClientTls::default() };
    let config = tls.config().map_err(|error| refuse(endpoint, chain(&error)))?;
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|_| CliError::usage(format!("`{}` is no name of a host", endpoint.host)))?;
    let connected = omnirelay_dial::tcp(&endpoint.host, endpoint.port).await;
    let stream = connected.map_err(|error| refuse(endpoint, chain(&error)))?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = shaken.map_err(|error| refuse(endpoint, no_tls(&error)))?;
    let (_, connection) = stream.get_ref();
    let shown = connection.peer_certificates().unwrap_or_default().iter().map(|one| one.clone().into_owned());
    let version = connection.protocol_version().and_then(|version| version.as_str());
    Ok((shown.collect(), version.unwrap_or("TLS").replace('_', ".")))
}

fn no_tls(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it closed the connection: no TLS is spoken there".to_owned(),
        _ => chain(error),
    }
}

fn refuse(endpoint: &HostPort, cause: String) -> CliError {
    CliError::new(reasons::CONNECT_FAILED, format!("{endpoint} shows no certificate"))
        .cause(cause)
        .hint("name the port that speaks TLS; plaintext ports show nothing")
}

/// Whether a failure says that nobody could be asked, and not that the question was wrong.
pub(crate) fn is_unreachable(error: &CliError) -> bool {
    error.exit() != Exit::Usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, expected) in [
            ("eu-1:17420", Some("eu-1:17420")),
            ("https://eu-1.example:17420/", Some("eu-1.example:17420")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]:443")),
            ("10.0.0.1:1", Some("10.0.0.1:1")),
            ("node-1", None),
            ("certs/a:b", None),
            ("a/b:17420", None),
            (":17420", None),
            ("eu-1:99999", None),
        ] {
            let read = text.parse::<HostPort>().map(|endpoint| endpoint.to_string());
            assert_eq!(read.as_deref().ok(), expected, "{text}");
        }
    }
}
