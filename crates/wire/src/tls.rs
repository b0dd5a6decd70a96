//! TLS of clients: whom they trust, and connections that speak it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use omnirelay_core::text::chain;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Uri;

use crate::pem_file::{self, PemFault};

/// Of an address without one.
const HTTPS_PORT: u16 = 443;

/// A file that does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` {fault}")]
    Content { path: PathBuf, fault: PemFault },
    #[error("`{path}` holds no authority's certificate")]
    Authority { path: PathBuf, source: rustls::Error },
}

/// What the configuration of a client begins with.
///
/// # Errors
/// Never with the provider that is built in.
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    // The provider is given here and not installed for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// Trusts nobody and shows nothing: for clients that speak plaintext only, and would look for the authorities of the
/// system else.
///
/// # Panics
/// Never with the provider that is built in.
#[expect(clippy::expect_used, reason = "the provider that is built in speaks what is asked for")]
pub fn nobody() -> ClientConfig {
    ClientTls::default().config().expect("a provider that speaks TLS")
}

/// TLS of a client: whom it believes, and what it shows.
#[derive(Debug, Default)]
pub struct ClientTls {
    /// Whom it believes; `None`: nobody.
    pub roots: Option<RootCertStore>,
    /// What it shows: its certificate with the chain, and the key.
    pub identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// Of whom the server's certificate must be, where that is not the host that is called.
    pub server_name: Option<ServerName<'static>>,
    /// Whether any certificate will do.
    pub believes_anybody: bool,
    /// What is asked of a server's certificate besides, once it is believed.
    pub judge: Option<ServerCheck>,
}

/// Check of a server's certificate that leads to a root which is believed: says why it is not taken all the same.
#[derive(Clone)]
pub struct ServerCheck(Arc<ServerCheckFn>);

type ServerCheckFn = dyn Fn(&CertificateDer<'_>) -> Result<(), String> + Send + Sync;

impl ServerCheck {
    pub fn new(check: impl Fn(&CertificateDer<'_>) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }
}

impl fmt::Debug for ServerCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCheck").finish_non_exhaustive()
    }
}

/// Reason why a server's certificate that is believed is that of another server than a client wants.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnwantedServer(String);

impl ClientTls {
    /// The configuration of a client that offers HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// When its key is of no kind that is known, or not that of its certificate.
    pub fn config(self) -> Result<ClientConfig, rustls::Error> {
        let Self { roots, identity, server_name, believes_anybody, judge: besides } = self;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = |roots: RootCertStore| {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            built.map_err(|error| rustls::Error::General(chain(&error)))
        };
        let inner = roots.filter(|_| !believes_anybody).map(verifier).transpose()?;
        let judge = ServerJudge { inner, server_name, believes_anybody, besides, algorithms };
        let builder = builder()?.dangerous().with_custom_certificate_verifier(Arc::new(judge));
        let mut config = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// How many certificates of a server are read: the ways that may lead from one to a root are tried one by one, and whoever
/// answers at an address may send any number of authorities of one name.
pub const CHAIN_CERTIFICATES_MAX: usize = 6;

/// A server has sent too many certificates.
#[derive(Debug, thiserror::Error)]
#[error("it has more than {CHAIN_CERTIFICATES_MAX} certificates")]
struct ChainTooLong;

/// Judges the certificates of servers.
#[derive(Debug)]
struct ServerJudge {
    /// `None`: nobody is believed, or anybody.
    inner: Option<Arc<WebPkiServerVerifier>>,
    server_name: Option<ServerName<'static>>,
    believes_anybody: bool,
    besides: Option<ServerCheck>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        called: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.inner {
            Some(_) if between.len() >= CHAIN_CERTIFICATES_MAX => {
                Err(CertificateError::Other(OtherError(Arc::new(ChainTooLong))).into())
            }
            Some(inner) => {
                let name = self.server_name.as_ref().unwrap_or(called);
                let verified = inner.verify_server_cert(leaf, between, name, ocsp, now)?;
                let checked = self.besides.as_ref().map_or(Ok(()), |besides| besides.0(leaf));
                checked.map(|()| verified).map_err(|why| {
                    rustls::Error::from(CertificateError::Other(OtherError(Arc::new(UnwantedServer(why)))))
                })
            }
            None if self.believes_anybody => Ok(ServerCertVerified::assertion()),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The authorities that browsers believe.
pub fn public_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots
}

/// The authorities of a file, or the public ones.
///
/// # Errors
/// [`PemError`].
pub async fn authorities(ca: Option<&Path>) -> Result<RootCertStore, PemError> {
    let Some(path) = ca else { return Ok(public_authorities()) };
    let mut roots = RootCertStore::empty();
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
    pem_file::certificates(&bytes).map_err(|fault| PemError::Content { path: path.to_owned(), fault })
}

/// The private key of a file.
///
/// # Errors
/// [`PemError`].
pub async fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|source| PemError::Read { path: path.to_owned(), source })?;
    pem_file::private_key(&bytes).map_err(|fault| PemError::Content { path: path.to_owned(), fault })
}

/// Connects and agrees on TLS, as this configuration has it. The server must show a certificate of the name in `place`.
///
/// # Errors
/// Those of the connection; a [`rustls::Error`] is inside where TLS was not agreed on.
pub async fn connect_with(
    place: Uri,
    config: Arc<ClientConfig>,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = place.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = omnirelay_dial::tcp(&host, place.port_u16().unwrap_or(HTTPS_PORT)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
}
