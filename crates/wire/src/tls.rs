//! TLS of clients: whom they trust, and connections that speak it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Uri;

/// Of an address without one.
const HTTPS_PORT: u16 = 443;

/// A file that does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is no certificate")]
    Certificate { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("`{path}` holds no certificate")]
    Empty { path: PathBuf },
    #[error("`{path}` holds no authority's certificate")]
    Authority { path: PathBuf, source: rustls::Error },
}

/// What the configuration of a client begins with.
///
/// # Errors
/// Never with the provider that is built in.
pub fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    // The provider is given here and not installed for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// The authorities of a file, or the public ones.
///
/// # Errors
/// [`PemError`].
pub async fn authorities(ca: Option<&Path>) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    for certificate in certificates(path).await? {
        let added = roots.add(certificate);
        added.map_err(|source| PemError::Authority { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

/// The certificates of a file; at least one.
///
/// # Errors
/// [`PemError`].
pub async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|source| PemError::Read { path: path.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|source| PemError::Certificate { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(PemError::Empty { path: path.to_owned() });
    }
    Ok(found)
}

/// Connects and agrees on TLS, for HTTP/2 and nothing else. The server must show a certificate of the name in `place`
/// that one of `roots` has signed.
///
/// # Errors
/// Those of the connection; a [`rustls::Error`] is inside where TLS was not agreed on.
pub async fn connect(place: Uri, roots: RootCertStore) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = place.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut config = builder().map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect((host.as_str(), place.port_u16().unwrap_or(HTTPS_PORT))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}
