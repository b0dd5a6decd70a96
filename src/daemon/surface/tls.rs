//! TLS of a listener: its certificate, read anew when its files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::preface::Version;

/// Longer files are neither certificates nor keys.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is agreed on with clients, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a listener has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is too long for a certificate or a key")]
    TooLong { path: PathBuf },
    #[error("`{path}` holds no certificate in PEM")]
    NoCertificate { path: PathBuf },
    #[error("`{path}` is no certificate in PEM")]
    Certificate { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("`{path}` is no private key in PEM")]
    Key { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("cannot use the certificate `{cert}` with its key")]
    Pair { cert: PathBuf, source: rustls::Error },
}

/// The certificate of a listener with its key.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

/// Tells one state of the files from another.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// Reads both files, in PEM.
    ///
    /// # Errors
    /// [`TlsError`], with the file that cannot be used.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(read_config(cert, key)?));
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// Looks at the files now and then, and takes what they hold for new connections. What cannot be used is
    /// told once, and the old goes on.
    pub async fn keep(self: Arc<Self>) {
        let mut seen = self.stamp();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.stamp();
            if now == seen {
                continue;
            }
            seen = now;
            match self.reload() {
                Ok(()) => tracing::info!(path = %self.cert.display(), "certificate read again"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "certificate not read again; the old one stays");
                }
            }
        }
    }

    /// Reads the files again, for connections that begin later.
    ///
    /// # Errors
    /// [`TlsError`]; what was read before is used on then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read_config(&self.cert, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Takes a client in, and says what was agreed to speak.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Version)> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Version::Http2,
            Some(_) | None => Version::Http1,
        };
        Ok((stream, version))
    }

    fn stamp(&self) -> Stamp {
        [&self.cert, &self.key].map(|path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        })
    }
}

fn read_config(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(cert)?).collect();
    let chain = chain.map_err(|source| TlsError::Certificate { path: cert.to_owned(), source })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: cert.to_owned() });
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|source| TlsError::Key { path: key.to_owned(), source })?;
    // The provider is given here and not installed for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refuse = |source| TlsError::Pair { cert: cert.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refuse)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(refuse)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let refuse = |source| TlsError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(refuse)?.len() > FILE_BYTES_MAX {
        return Err(TlsError::TooLong { path: path.to_owned() });
    }
    std::fs::read(path).map_err(refuse)
}
