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
    /// What the files were when they were read first.
    opened: Stamp,
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
        // Before they are read: whoever replaces them meanwhile has them read again.
        let opened = stamp(cert, key);
        let current = RwLock::new(Arc::new(read_config(cert, key)?));
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), opened, current })
    }

    /// Looks at the files now and then, and takes what they hold for new connections. What cannot be used is
    /// told once, and the old goes on.
    pub async fn keep(self: Arc<Self>) {
        let mut seen = self.opened;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let looking = Arc::clone(&self);
            // Files may be far away, and then connections must not wait for them.
            let looked = tokio::task::spawn_blocking(move || looking.look(seen));
            let Ok(Some((now, read))) = looked.await else { continue };
            seen = now;
            match read {
                Ok(()) => tracing::info!(path = %self.cert.display(), "certificate read again"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "certificate not read again; the old one stays");
                }
            }
        }
    }

    /// Reads the files again if they are not those that were seen. Blocks.
    fn look(&self, seen: Stamp) -> Option<(Stamp, Result<(), TlsError>)> {
        let now = stamp(&self.cert, &self.key);
        (now != seen).then(|| (now, self.reload()))
    }

    /// Reads the files again, for connections that begin later. Blocks.
    ///
    /// # Errors
    /// [`TlsError`]; what was read before is used on then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read_config(&self.cert, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Takes a client in.
    ///
    /// # Errors
    /// When the client does not shake hands.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    [cert, key].map(|path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    })
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tracing::field::{Field, Visit};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    use super::*;
    use crate::daemon::log::captured;

    /// What was logged, in its order.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Told {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            struct Message<'a>(&'a Told);
            impl Visit for Message<'_> {
                fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                    if field.name() == "message" {
                        self.0.0.lock().unwrap().push(format!("{value:?}"));
                    }
                }
            }
            if event.metadata().target() == module_path!().trim_end_matches("::tests") {
                event.record(&mut Message(self));
            }
        }
    }

    impl Told {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    fn pair() -> [String; 2] {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        [cert.pem(), signing_key.serialize_pem()]
    }

    /// Lets the files be looked at a few times.
    async fn look() {
        tokio::time::sleep(LOOK_EVERY * 3).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_and_its_key_may_be_replaced_in_either_order() {
        for order in [[0, 1], [1, 0]] {
            let place = tempfile::tempdir().unwrap();
            let paths = ["cert.pem", "key.pem"].map(|name| place.path().join(name));
            for (path, text) in paths.iter().zip(pair()) {
                std::fs::write(path, text).unwrap();
            }
            let told = Told::default();
            let _guard = captured(tracing_subscriber::registry().with(told.clone()));
            let tls = Arc::new(Tls::open(&paths[0], &paths[1]).unwrap());
            let keeping = tokio::spawn(tls.clone().keep());
            let first = Arc::clone(&tls.current.read().unwrap());
            let is_first = || Arc::ptr_eq(&first, &tls.current.read().unwrap());
            look().await;
            assert!(is_first() && told.take().is_empty(), "nothing is new");
            let newer = pair();
            std::fs::write(&paths[order[0]], &newer[order[0]]).unwrap();
            look().await;
            assert!(is_first(), "the half of a pair is of no use");
            assert_eq!(told.take(), ["certificate not read again; the old one stays"], "once");
            std::fs::write(&paths[order[1]], &newer[order[1]]).unwrap();
            look().await;
            assert!(!is_first());
            assert_eq!(told.take(), ["certificate read again"], "once");
            keeping.abort();
        }
    }
}
