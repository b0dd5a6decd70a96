//! TLS of a listener: its certificate, read anew when its files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::trust::ChainUsage;
use omnirelay_wire::pem_file::{self, PemFault};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::client_judge::ClientJudge;
pub use super::client_judge::{ClientCertificateRule, ListenerAudience};
use super::files::{self, FilesStamp, LOOK_EVERY};
use super::handshake::{HandshakeError, HandshakeRefusalNote, shake};
use super::handshake_budget::HandshakeBudget;
use super::trust::{HolderStanding, MeshTrust, TrustSnapshot, unix_now};

/// How long a client that is refused may take to read why.
const WHY_WITHIN: Duration = Duration::from_secs(1);
/// How much of what it has sent meanwhile is taken for that, in bytes.
const WHY_BYTES_MAX: usize = 64 * 1024;

/// What most listeners agree on with clients, the best first.
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
/// What nodes agree on among each other.
const AMONG_NODES: &[&[u8]] = &[b"h2"];

/// Reason why a listener has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` {fault}")]
    Content { path: PathBuf, fault: PemFault },
    #[error("cannot use the certificate `{cert}` with its key")]
    Pair { cert: PathBuf, source: rustls::Error },
}

/// TLS of a listener: what it shows, and whose certificates it takes.
pub struct ListenerTls {
    /// What it shows; `None`: the identity of the node, as soon as there is one.
    files: Option<KeyPairFiles>,
    /// Who the node is, and by what certificates of clients are judged; `None`: neither matters here.
    trust: Option<Arc<MeshTrust>>,
    /// Whether clients are asked for a certificate; `None`: they are not.
    clients: Option<ClientCertificateRule>,
    reach: ListenerAudience,
    /// What is agreed on with clients, the best first.
    protocols: &'static [&'static [u8]],
    /// Whether clients that speak no TLS are served as well.
    beside_plaintext: bool,
    current: RwLock<CurrentTlsState>,
    budget: Arc<HandshakeBudget>,
}

/// A certificate with its key, in files.
struct KeyPairFiles {
    cert: PathBuf,
    key: PathBuf,
    /// What they were when they were read first.
    opened: FilesStamp,
}

/// State that connections begin with.
#[derive(Default)]
struct CurrentTlsState {
    /// Of the files.
    pair: Option<CertificatePair>,
    /// What `config` was made for.
    trusted: Option<Arc<TrustSnapshot>>,
    /// `None`: it has to be made.
    config: Option<Arc<ServerConfig>>,
}

/// A certificate with its chain, and its key.
struct CertificatePair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// A client that shook hands.
pub struct TlsClient {
    pub stream: TlsStream<TcpStream>,
    /// What it showed; `None`: nothing.
    pub shown: Option<ShownCertificate>,
}

/// Certificate that a client has shown, judged.
pub struct ShownCertificate {
    pub certificate: Arc<Certificate>,
    pub standing: HolderStanding,
    /// Whether nothing but roots that this host's configuration names vouches for it.
    pub by_own_roots: bool,
    chain: Vec<CertificateDer<'static>>,
    judged_by: Arc<TrustSnapshot>,
}

impl ShownCertificate {
    /// Whether it is of a node, of this mesh or of another one.
    pub fn is_of_node(&self) -> bool {
        matches!(self.certificate.id.holder(), CertificateHolder::Node { .. })
    }

    /// Returns the certificate at the head of a chain that was judged; `None`: the chain is empty.
    ///
    /// # Errors
    /// When its leaf cannot be read.
    pub fn of(chain: &[CertificateDer<'_>], judged_by: Arc<TrustSnapshot>) -> io::Result<Option<Self>> {
        let Some(leaf) = chain.first() else { return Ok(None) };
        let certificate = Arc::new(Certificate::read(leaf).map_err(io::Error::other)?);
        let now = unix_now();
        let standing = judged_by.standing(&certificate, chain, (now, ChainUsage::Client));
        let standing =
            standing.ok_or_else(|| io::Error::other("its certificate is not believed any more"))?;
        let by_own_roots = judged_by.is_by_own_roots(chain, now);
        let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
        Ok(Some(Self { certificate, standing, by_own_roots, chain, judged_by }))
    }
}

impl ListenerTls {
    /// Reads both files, in PEM. Clients are asked for no certificate.
    ///
    /// # Errors
    /// [`TlsError`], with the file that cannot be used.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        // Before they are read: whoever replaces them meanwhile has them read again.
        let opened = FilesStamp::of([cert, key]);
        let pair = read_pair(cert, key)?;
        let config = Some(config(&pair, None, None, (ListenerAudience::Mesh, PROTOCOLS), cert)?);
        let current = RwLock::new(CurrentTlsState { pair: Some(pair), trusted: None, config });
        let files = KeyPairFiles { cert: cert.to_owned(), key: key.to_owned(), opened };
        let (trust, clients, reach) = (None, None, ListenerAudience::Mesh);
        let (protocols, budget, beside_plaintext) = (PROTOCOLS, Arc::default(), false);
        Ok(Self { files: Some(files), trust, clients, reach, protocols, beside_plaintext, current, budget })
    }

    /// Shows the identity of the node. Clients are asked for no certificate, and by no version before 1.3 served.
    pub fn of_node(trust: Arc<MeshTrust>) -> Self {
        let (files, clients, reach, current) = (None, None, ListenerAudience::Mesh, RwLock::default());
        let (protocols, budget, beside_plaintext) = (PROTOCOLS, Arc::default(), false);
        Self { files, trust: Some(trust), clients, reach, protocols, beside_plaintext, current, budget }
    }

    /// Shows the identity of the node to other nodes of the mesh, and lets in nobody else. None of them speaks HTTP/1.1.
    pub fn among_nodes(trust: Arc<MeshTrust>) -> Self {
        let of_node = Self::of_node(trust.clone()).judging(trust, ClientCertificateRule::Must);
        Self { reach: ListenerAudience::Nodes, protocols: AMONG_NODES, ..of_node }
    }

    /// Judges certificates of clients too. Nobody is served by a version before 1.3 then.
    #[must_use]
    pub fn judging(mut self, trust: Arc<MeshTrust>, clients: ClientCertificateRule) -> Self {
        self.current.get_mut().config = None;
        Self { trust: Some(trust), clients: Some(clients), ..self }
    }

    /// Lets nodes of federated clusters in as well, for what the surface opens to them.
    #[must_use]
    pub fn exchanging(mut self) -> Self {
        self.current.get_mut().config = None;
        Self { reach: ListenerAudience::Exchange, ..self }
    }

    /// Serves clients that speak no TLS as well.
    #[must_use]
    pub fn beside_plaintext(self) -> Self {
        Self { beside_plaintext: true, ..self }
    }

    pub fn is_beside_plaintext(&self) -> bool {
        self.beside_plaintext
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn drawing_on(self, budget: HandshakeBudget) -> Self {
        Self { budget: Arc::new(budget), ..self }
    }

    /// Budget of the handshakes that may begin with it, over TCP and UDP together.
    pub fn budget(&self) -> &Arc<HandshakeBudget> {
        &self.budget
    }

    /// Whether there is something to show.
    pub fn has_certificate(&self) -> bool {
        let own = || self.trust.as_ref().is_some_and(|trust| trust.current().own.is_some());
        self.files.is_some() || own()
    }

    /// Returns once there is something to show.
    pub async fn shows(&self) {
        let (None, Some(trust)) = (&self.files, &self.trust) else { return };
        // Whoever changes it lives as long as the node.
        let _ = trust.changes().wait_for(|trusted| trusted.own.is_some()).await;
    }

    /// Looks at the files now and then, and takes what they hold for new connections. What cannot be used is
    /// told once, and the old goes on. Ends at once where there are no files.
    pub async fn keep(self: Arc<Self>) {
        let Some(files) = &self.files else { return };
        let mut seen = files.opened.clone();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let looking = Arc::clone(&self);
            // Files may be far away, and then connections must not wait for them.
            let before = seen.clone();
            let looked = tokio::task::spawn_blocking(move || looking.look(&before));
            let Ok(Some((now, read))) = looked.await else { continue };
            seen = now;
            match read {
                Ok(()) => tracing::info!(path = %files.cert.display(), "certificate read again"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "certificate not read again; the old one stays");
                }
            }
        }
    }

    /// Reads the files again if they are not those that were seen. Blocks.
    fn look(&self, seen: &FilesStamp) -> Option<(FilesStamp, Result<(), TlsError>)> {
        let files = self.files.as_ref()?;
        let now = FilesStamp::of([files.cert.as_path(), files.key.as_path()]);
        (now != *seen).then(|| (now, self.reload()))
    }

    /// Reads the files again, for connections that begin later. Blocks.
    ///
    /// # Errors
    /// [`TlsError`]; what was read before is used on then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let Some(KeyPairFiles { cert, key, .. }) = &self.files else { return Ok(()) };
        let pair = read_pair(cert, key)?;
        let trusted = self.trust.as_ref().map(|trust| trust.current());
        let config = Some(config(&pair, trusted.as_ref(), self.clients, (self.reach, self.protocols), cert)?);
        *self.current.write() = CurrentTlsState { pair: Some(pair), trusted, config };
        Ok(())
    }

    /// Takes a client in.
    ///
    /// # Errors
    /// When the client does not shake hands, is refused, or there is nothing to show it yet.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsClient, HandshakeError> {
        let (config, trusted) = self.config()?;
        let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
        let stream = shake(async {
            match accepting.await {
                Ok(stream) => Ok(stream),
                Err((error, stream)) => {
                    say_why(stream).await;
                    Err(error)
                }
            }
        });
        let stream = stream.await?;
        let chain = stream.get_ref().1.peer_certificates().zip(trusted);
        let shown = match chain {
            Some((chain, judged_by)) => ShownCertificate::of(chain, judged_by)?,
            None => None,
        };
        Ok(TlsClient { stream, shown })
    }

    /// Configuration that one connection over QUIC begins with, and the note of why it came to nothing.
    ///
    /// # Errors
    /// When there is nothing to show yet.
    pub fn quic(&self) -> io::Result<(ServerConfig, Arc<TrustSnapshot>, HandshakeRefusalNote)> {
        let (base, trusted) = self.config()?;
        let (trusted, noted) = (trusted.ok_or(io::ErrorKind::NotConnected)?, HandshakeRefusalNote::default());
        let provider = base.crypto_provider();
        let clients = (self.clients.unwrap_or(ClientCertificateRule::Must), self.reach);
        let judge = ClientJudge::of(&trusted, clients, provider).noting(noted.clone());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(io::Error::other)?;
        let builder = builder.with_client_cert_verifier(Arc::new(judge));
        let mut config = builder.with_cert_resolver(base.cert_resolver.clone());
        without_sessions(&mut config);
        Ok((config, trusted, noted))
    }

    /// Returns once what was shown here proves nobody any more, and says why.
    pub async fn ended(&self, shown: ShownCertificate) -> &'static str {
        let ShownCertificate { certificate, chain, judged_by, standing, .. } = shown;
        let Some(trust) = &self.trust else { return std::future::pending().await };
        let unpinned = async {
            match self.reach {
                ListenerAudience::Nodes => trust.unpinned(&chain, ChainUsage::Client).await,
                ListenerAudience::Mesh | ListenerAudience::Exchange => std::future::pending().await,
            }
        };
        tokio::select! {
            why = trust.ended(judged_by, &certificate, (&chain, &standing), ChainUsage::Client) => why,
            why = unpinned => why,
        }
    }

    /// What connections begin with now. All of it is new when anything is, so that no session of before is resumed.
    fn config(&self) -> io::Result<(Arc<ServerConfig>, Option<Arc<TrustSnapshot>>)> {
        let trusted = self.trust.as_ref().map(|trust| trust.current());
        let is_current = |current: &CurrentTlsState| match (&current.trusted, &trusted) {
            (Some(made_for), Some(trusted)) => Arc::ptr_eq(made_for, trusted),
            (None, None) => true,
            _ => false,
        };
        {
            let current = self.current.read();
            if let Some(config) = current.config.as_ref().filter(|_| is_current(&current)) {
                return Ok((Arc::clone(config), trusted));
            }
        }
        let mut current = self.current.write();
        let own = trusted.as_ref().and_then(|trusted| CertificatePair::of_node(trusted));
        let pair = current.pair.as_ref().or(own.as_ref());
        let pair = pair
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "this node has no certificate yet"))?;
        let allowed = (self.reach, self.protocols);
        let made = config(pair, trusted.as_ref(), self.clients, allowed, Path::new("identity.pem"));
        let made = made.map_err(io::Error::other)?;
        (current.config, current.trusted) = (Some(Arc::clone(&made)), trusted.clone());
        Ok((made, trusted))
    }
}

/// Lets a client read why it is refused: what it has sent meanwhile would have its system throw that away.
async fn say_why(mut stream: TcpStream) {
    let mut rest = [0; 1024];
    // Whoever does not read it has no use for it.
    let _ = tokio::time::timeout(WHY_WITHIN, async {
        stream.shutdown().await?;
        let mut left = WHY_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut rest).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, io::Error>(())
    })
    .await;
}

impl CertificatePair {
    fn of_node(trusted: &TrustSnapshot) -> Option<Self> {
        let own = trusted.own.as_ref()?;
        Some(Self { chain: own.chain.clone(), key: own.private_key()? })
    }
}

fn read_pair(cert: &Path, key: &Path) -> Result<CertificatePair, TlsError> {
    let refuse = |path: &Path| {
        let path = path.to_owned();
        |fault| TlsError::Content { path, fault }
    };
    let chain = pem_file::certificates(&read(cert)?).map_err(refuse(cert))?;
    let key = pem_file::private_key(&Zeroizing::new(read(key)?)).map_err(refuse(key))?;
    Ok(CertificatePair { chain, key })
}

/// What shows `pair`, and judges certificates of clients where it is said by what.
fn config(
    pair: &CertificatePair,
    trusted: Option<&Arc<TrustSnapshot>>,
    clients: Option<ClientCertificateRule>,
    (reach, protocols): (ListenerAudience, &[&[u8]]),
    cert: &Path,
) -> Result<Arc<ServerConfig>, TlsError> {
    // The provider is given here and not installed for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refuse = |source| TlsError::Pair { cert: cert.to_owned(), source };
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = match trusted {
        Some(_) => builder.with_protocol_versions(&[&rustls::version::TLS13]),
        None => builder.with_safe_default_protocol_versions(),
    };
    let builder = builder.map_err(refuse)?;
    let judge = match (trusted, clients) {
        (Some(trusted), Some(clients))
            if clients == ClientCertificateRule::Must || believes_anybody(trusted, reach) =>
        {
            Some(ClientJudge::of(trusted, (clients, reach), &provider))
        }
        (_, _) => None,
    };
    let builder = match judge {
        Some(judge) => builder.with_client_cert_verifier(Arc::new(judge)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(pair.chain.clone(), pair.key.clone_key()).map_err(refuse)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    if trusted.is_some() {
        without_sessions(&mut config);
    }
    Ok(Arc::new(config))
}

/// Whoever resumes a session shows no certificate: nobody would judge it.
fn without_sessions(config: &mut ServerConfig) {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
}

/// Whether somebody's certificate is worth asking for.
fn believes_anybody(trusted: &TrustSnapshot, reach: ListenerAudience) -> bool {
    let exchanges = reach == ListenerAudience::Exchange && !trusted.federated.is_empty();
    exchanges || trusted.bundles().next().is_some()
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    files::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tracing::field::{Field, Visit};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    use super::*;
    use omnirelay_host::log::captured;

    /// Lines that were logged, in their order.
    #[derive(Clone, Default)]
    struct LoggedLines(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for LoggedLines {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            struct MessageVisitor<'a>(&'a LoggedLines);
            impl Visit for MessageVisitor<'_> {
                fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                    if field.name() == "message" {
                        self.0.0.lock().push(format!("{value:?}"));
                    }
                }
            }
            if event.metadata().target() == module_path!().trim_end_matches("::tests") {
                event.record(&mut MessageVisitor(self));
            }
        }
    }

    impl LoggedLines {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock())
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
            let told = LoggedLines::default();
            let _guard = captured(tracing_subscriber::registry().with(told.clone()));
            let tls = Arc::new(ListenerTls::open(&paths[0], &paths[1]).unwrap());
            let keeping = tokio::spawn(tls.clone().keep());
            let first = tls.config().unwrap().0;
            let is_first = || Arc::ptr_eq(&first, &tls.config().unwrap().0);
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
