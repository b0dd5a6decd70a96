//! TLS of the clients that a daemon is itself: whom they believe and what they show, as it is when they connect.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::chain;
use omnirelay_pki::trust::{ChainUsage, TrustBundle, bounded};
use omnirelay_wire::pem_file::{self, PemFault};
use omnirelay_wire::tls::public_authorities;
use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use tracing::warn;
use zeroize::Zeroizing;

use super::client_judge::alert;
use super::files::{self, FilesStamp};
use super::trust::{CertificateRefusal, MeshTrust};
use crate::node_identity::NodeIdentity;

/// Servers that a client believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerTrust {
    /// The authorities that browsers believe.
    #[default]
    Public,
    /// Those of a file in PEM.
    File(PathBuf),
    /// The authority of the mesh, and what the identity provider of this node brings: as the node itself is, revocations
    /// included.
    Mesh(ExpectedServers),
    /// Nodes of this federated cluster, by its roots and no others; nobody while it is not federated.
    Cluster(String),
    /// This node of a federated cluster, by the roots of that; `None`: any of its nodes. Whatever it is called by.
    ClusterNode { cluster: String, node: Option<String> },
    /// This node of the mesh, whatever it is called by.
    Node(String),
    /// Any node of the mesh, whatever it is called by: who it is has to be found out.
    AnyNode,
    /// This node of another cluster of the trust domain, whatever it is called by; `None`: any of its nodes, which have to be called
    /// so besides.
    Sibling { cluster: String, node: Option<String> },
}

/// Servers of which a certificate of the mesh must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedServers {
    Nodes,
    NodesAndServices,
}

/// Certificate that a client shows to whoever asks for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    #[default]
    Nothing,
    /// Who the node is, once it is somebody.
    Node,
    /// A certificate with its chain, and its key, in PEM.
    Files { cert: PathBuf, key: PathBuf },
}

/// TLS of a client. What changes, be it files or who is believed, counts for the connections that begin from then on. Those
/// that are open go on, unless the mesh judges them: see [`LiveTlsConnector`](super::connector::LiveTlsConnector).
pub struct LiveTlsClient {
    believes: ServerTrust,
    shows: ClientCertificate,
    trust: Arc<MeshTrust>,
    read: RwLock<LoadedTlsFiles>,
    provider: Arc<CryptoProvider>,
}

/// Contents of the files when they were read last.
#[derive(Default)]
struct LoadedTlsFiles {
    stamp: Option<FilesStamp>,
    /// Judges servers, where that is not the mesh's to do; or why nobody can.
    judge: Option<Result<Arc<WebPkiServerVerifier>, String>>,
    shown: Option<Arc<CertifiedKey>>,
    /// Why nothing can be shown although there should be something.
    no_show: Option<String>,
}

impl LoadedTlsFiles {
    /// Whether there is nothing else to read. What could not be used may be usable by now, whatever stood in the way.
    fn is_of(&self, stamp: &Option<FilesStamp>) -> bool {
        let failed = self.no_show.is_some() || matches!(self.judge, Some(Err(_)));
        self.stamp == *stamp && !failed
    }
}

impl fmt::Debug for LiveTlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnClient")
            .field("believes", &self.believes)
            .field("shows", &self.shows)
            .finish_non_exhaustive()
    }
}

impl LiveTlsClient {
    /// Files are read by [`Self::refresh`], so that none of them stops a daemon from starting.
    pub fn new(believes: ServerTrust, shows: ClientCertificate, trust: Arc<MeshTrust>) -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Arc::new(Self { believes, shows, trust, read: RwLock::default(), provider })
    }

    /// One that believes the public authorities and shows nothing.
    pub fn public() -> Arc<Self> {
        Self::new(ServerTrust::default(), ClientCertificate::default(), Arc::default())
    }

    /// Reads the files again if they have changed; to be called before something is connected to.
    ///
    /// # Errors
    /// What of the files cannot be used.
    pub async fn refresh(self: &Arc<Self>) -> io::Result<()> {
        let has_files = !self.paths().is_empty();
        if has_files || self.read.read().stamp.is_none() {
            let reading = Arc::clone(self);
            // Files may be far away, and then nothing else must wait for them.
            let read = tokio::task::spawn_blocking(move || reading.read_again());
            read.await.map_err(io::Error::other)?;
        }
        self.check_federated().map_err(io::Error::other)?;
        let read = self.read.read();
        let why = read.judge.as_ref().and_then(|judge| judge.as_ref().err()).or(read.no_show.as_ref());
        why.map_or(Ok(()), |why| Err(io::Error::other(why.clone())))
    }

    /// Checks that the cluster is federated whose nodes the client believes.
    ///
    /// # Errors
    /// That it is not.
    pub fn check_federated(&self) -> Result<(), String> {
        match &self.believes {
            ServerTrust::Cluster(cluster) | ServerTrust::ClusterNode { cluster, .. }
                if self.trust.current().roots_of(cluster).is_empty() =>
            {
                Err(not_federated(cluster))
            }
            _ => Ok(()),
        }
    }

    /// The configuration of connections, for as long as the daemon runs: what changes is asked for in each handshake, and no
    /// session of before is resumed.
    ///
    /// # Errors
    /// Never with the provider that is built in.
    pub fn config(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone());
        let builder = match self.believes.is_judged_by_mesh() {
            true => builder.with_protocol_versions(&[&rustls::version::TLS13]),
            false => builder.with_safe_default_protocol_versions(),
        };
        let builder =
            builder?.dangerous().with_custom_certificate_verifier(Arc::new(LiveServerVerifier(self.clone())));
        let mut config = builder.with_client_cert_resolver(Arc::new(LiveCertificateResolver(self.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Servers that the client believes.
    pub(super) fn believes(&self) -> &ServerTrust {
        &self.believes
    }

    /// Certificate that the client shows.
    pub(super) fn shows(&self) -> &ClientCertificate {
        &self.shows
    }

    /// Trust by which the client judges where it believes the mesh.
    pub(super) fn trust(&self) -> &Arc<MeshTrust> {
        &self.trust
    }

    fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        if let ServerTrust::File(ca) = &self.believes {
            paths.push(ca.as_path());
        }
        if let ClientCertificate::Files { cert, key } = &self.shows {
            paths.extend([cert.as_path(), key.as_path()]);
        }
        paths
    }

    fn read_again(&self) {
        let stamp = Some(FilesStamp::of(self.paths()));
        if self.read.read().is_of(&stamp) {
            return;
        }
        let judge = match &self.believes {
            ServerTrust::Mesh(_)
            | ServerTrust::Cluster(_)
            | ServerTrust::ClusterNode { .. }
            | ServerTrust::Sibling { .. }
            | ServerTrust::Node(_)
            | ServerTrust::AnyNode => None,
            ServerTrust::Public => Some(self.judge_by(public_authorities())),
            ServerTrust::File(ca) => Some(authorities(ca).and_then(|roots| self.judge_by(roots))),
        };
        let shown = match &self.shows {
            ClientCertificate::Nothing | ClientCertificate::Node => Ok(None),
            ClientCertificate::Files { cert, key } => self.pair(cert, key).map(|pair| Some(Arc::new(pair))),
        };
        let mut read = self.read.write();
        let (shown, no_show) = match (shown, read.shown.take()) {
            (Ok(shown), _) => (shown, None),
            // Two files are not replaced at once; until both fit, what was shown goes on.
            (Err(error), Some(before)) => {
                warn!(error, "certificate of a client not taken from its files; the old one goes on");
                (Some(before), None)
            }
            (Err(why), None) => (None, Some(why)),
        };
        *read = LoadedTlsFiles { stamp, judge, shown, no_show };
    }

    fn judge_by(&self, roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
        let built =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        built.map_err(|error| chain(&error))
    }

    fn pair(&self, cert: &Path, key: &Path) -> Result<CertifiedKey, String> {
        let read = |path: &Path| files::read(path).map_err(|error| unread(path, &error));
        let shown = pem_file::certificates(&read(cert)?).map_err(|fault| unusable(cert, fault))?;
        let private =
            pem_file::private_key(&Zeroizing::new(read(key)?)).map_err(|fault| unusable(key, fault))?;
        CertifiedKey::from_der(shown, private, &self.provider).map_err(|error| {
            format!("`{}` and `{}` are not of each other: {}", cert.display(), key.display(), chain(&error))
        })
    }

    fn own(&self, own: &NodeIdentity) -> Option<Arc<CertifiedKey>> {
        let pair = CertifiedKey::from_der(own.chain.clone(), own.private_key()?, &self.provider);
        pair.ok().map(Arc::new)
    }

    pub(super) fn verify(
        &self,
        (leaf, between): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trusted = self.trust.current();
        let between = bounded(leaf, between).map_err(|error| refused(error.into()))?;
        let named = match &self.believes {
            ServerTrust::Public | ServerTrust::File(_) => {
                let read = self.read.read();
                return match &read.judge {
                    Some(Ok(judge)) => judge.verify_server_cert(leaf, &between, name, &[], now),
                    Some(Err(why)) => Err(Error::General(why.clone())),
                    None => Err(Error::General("nobody is believed yet".to_owned())),
                };
            }
            ServerTrust::Mesh(_) | ServerTrust::Sibling { node: None, .. } => {
                let roots = trusted.bundles().flat_map(TrustBundle::roots).cloned().collect();
                Some((roots, "this daemon trusts no authority of the mesh yet".to_owned()))
            }
            ServerTrust::Cluster(cluster) => Some((trusted.roots_of(cluster), not_federated(cluster))),
            // Who it is stands in its certificate: names are for those who know nothing else.
            ServerTrust::ClusterNode { .. }
            | ServerTrust::Sibling { node: Some(_), .. }
            | ServerTrust::Node(_)
            | ServerTrust::AnyNode => None,
        };
        if let Some((certificates, nobody)) = named {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates);
            if roots.is_empty() {
                return Err(Error::General(nobody));
            }
            let judge = self.judge_by(roots).map_err(Error::General)?;
            judge.verify_server_cert(leaf, &between, name, &[], now)?;
        }
        let chain: Vec<_> = std::iter::once(leaf).chain(&between).cloned().collect();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        // Besides the name that was called: by the roots of its own trust domain, and none that is out.
        let shown = match self.believes {
            ServerTrust::Cluster(_) | ServerTrust::ClusterNode { .. } | ServerTrust::Sibling { .. } => {
                trusted.judge_exchange(&chain, now, ChainUsage::Server).map(|(shown, _)| shown)
            }
            ServerTrust::Node(_) | ServerTrust::AnyNode => {
                trusted.judge_node(&chain, now, ChainUsage::Server)
            }
            ServerTrust::Mesh(_) | ServerTrust::Public | ServerTrust::File(_) => {
                trusted.judge(&chain, now, ChainUsage::Server)
            }
        };
        let shown = shown.map_err(refused)?;
        match self.believes.takes(shown.id.holder()) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(what) => {
                let source = OtherError(Arc::new(io::Error::other(what)));
                Err(Error::InvalidCertificate(CertificateError::Other(source)))
            }
        }
    }
}

impl ServerTrust {
    /// Whether the mesh judges servers, and goes on to while a connection is open.
    pub(super) fn is_judged_by_mesh(&self) -> bool {
        match self {
            Self::Mesh(_)
            | Self::Cluster(_)
            | Self::ClusterNode { .. }
            | Self::Sibling { .. }
            | Self::Node(_)
            | Self::AnyNode => true,
            Self::Public | Self::File(_) => false,
        }
    }

    /// Whether a server of this holder is whom the client means, once its certificate is believed.
    fn takes(&self, holder: &CertificateHolder) -> Result<(), String> {
        match (holder, self) {
            (CertificateHolder::Node { cluster, .. }, Self::Cluster(called)) if cluster == called => Ok(()),
            (_, Self::Cluster(called)) => Err(format!("it is not of a node of cluster {called}")),
            (
                CertificateHolder::Node { cluster, node, .. },
                Self::ClusterNode { cluster: called, node: one }
                | Self::Sibling { cluster: called, node: one },
            ) if cluster == called && one.as_ref().is_none_or(|one| one == node) => Ok(()),
            (holder, Self::ClusterNode { cluster, node } | Self::Sibling { cluster, node }) => {
                let node = node.as_ref().map_or_else(|| "a node".to_owned(), |node| format!("node {node}"));
                Err(format!("it is of {}, and {node} of cluster {cluster} was called", holder.name()))
            }
            (CertificateHolder::Node { node, .. }, Self::Node(called)) if node == called => Ok(()),
            (holder, Self::Node(called)) => {
                Err(format!("it is of {}, and node {called} was called", holder.name()))
            }
            (CertificateHolder::Service(_), Self::Mesh(ExpectedServers::Nodes) | Self::AnyNode) => {
                Err("it is of a service, and a node was called".to_owned())
            }
            (CertificateHolder::Operator(_), _) => Err("it is of an operator, who serves nothing".to_owned()),
            (CertificateHolder::Node { .. } | CertificateHolder::Service(_), _) => Ok(()),
        }
    }
}

/// What the other end is told where its certificate proves nobody.
fn refused(why: CertificateRefusal) -> Error {
    Error::InvalidCertificate(alert(why))
}

fn not_federated(cluster: &str) -> String {
    format!(
        "cluster `{cluster}` is not federated: security.federatedClusters does not name it, or its bundle cannot be used, as \
         omnirelay mesh check says"
    )
}

/// Verifier of servers that judges as the client does by then.
#[derive(Debug)]
struct LiveServerVerifier(Arc<LiveTlsClient>);

impl LiveServerVerifier {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.0.provider.signature_verification_algorithms
    }
}

impl ServerCertVerifier for LiveServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        called: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify((leaf, between), called, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

/// Resolver of the certificate that the client shows by then.
#[derive(Debug)]
struct LiveCertificateResolver(Arc<LiveTlsClient>);

impl ResolvesClientCert for LiveCertificateResolver {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self.0.shows {
            ClientCertificate::Nothing => None,
            ClientCertificate::Node => self.0.own(self.0.trust.current().own.as_ref()?),
            ClientCertificate::Files { .. } => self.0.read.read().shown.clone(),
        }
    }

    fn has_certs(&self) -> bool {
        self.0.shows != ClientCertificate::Nothing
    }
}

/// The authorities of a file.
fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let bytes = files::read(path).map_err(|error| unread(path, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in pem_file::certificates(&bytes).map_err(|fault| unusable(path, fault))? {
        let added = roots.add(certificate);
        added.map_err(|error| {
            format!("`{}` holds what is no authority's certificate: {}", path.display(), chain(&error))
        })?;
    }
    Ok(roots)
}

fn unusable(path: &Path, fault: PemFault) -> String {
    format!("`{}` {fault}", path.display())
}

fn unread(path: &Path, error: &io::Error) -> String {
    format!("cannot read `{}`: {}", path.display(), chain(error))
}

#[cfg(test)]
mod tests {
    use omnirelay_core::spiffe::SpiffeId;
    use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
    use omnirelay_pki::certificate::{TlsNames, to_pem};
    use omnirelay_pki::key::PrivateKey;
    use omnirelay_pki::request::CertificateRequest;
    use omnirelay_store::whole_file::write_whole;

    use super::*;
    use crate::trust::{FederatedClusterTrust, unix_now};

    /// What a server on this host shows whom this authority certifies.
    fn shown(root: &CertificateAuthority, id: &str) -> Vec<CertificateDer<'static>> {
        let (names, key) = (TlsNames::of_this_host(), PrivateKey::make().unwrap());
        let asked = CertificateRequest::read(&CertificateRequest::make(&key, None, &names).unwrap()).unwrap();
        let id: SpiffeId = id.parse().unwrap();
        let cluster = match id.holder() {
            CertificateHolder::Node { cluster, .. } => cluster,
            CertificateHolder::Operator(_) | CertificateHolder::Service(_) => "east",
        };
        let issuer = root.intermediate(cluster, root.validity()).unwrap();
        let issued = issuer.issue(&asked, &id, &names, root.validity()).unwrap();
        vec![issued.der, issuer.certificate().clone()]
    }

    #[test]
    fn a_server_is_taken_for_what_was_called_and_for_nothing_else() {
        let now = unix_now();
        let validity = ValidityPeriod { not_before: now - 60, not_after: now + 3600 };
        let root = |domain: &str| CertificateAuthority::root(domain.parse().unwrap(), validity).unwrap();
        let (east, west, north) = (root("east.example"), root("west.example"), root("north.example"));
        let of = |root: &CertificateAuthority| TrustBundle::of(vec![root.certificate().clone()]).unwrap();
        let federated = |cluster: &str, root: &CertificateAuthority| FederatedClusterTrust {
            cluster: cluster.to_owned(),
            bundle: of(root),
        };
        let trust = Arc::new(MeshTrust::default());
        trust.update(|trusted| {
            (trusted.bundle, trusted.cluster) = (Some(of(&east)), "east".to_owned());
            trusted.federated = vec![federated("west", &west), federated("north", &north)];
        });
        let node = |domain: &str, cluster: &str| format!("spiffe://{domain}.example/mesh/{cluster}/worker/a");
        let mesh = || ServerTrust::Mesh(ExpectedServers::NodesAndServices);
        let called = |cluster: &str| ServerTrust::Cluster(cluster.to_owned());
        let one = |cluster: &str, node: Option<&str>| ServerTrust::ClusterNode {
            cluster: cluster.to_owned(),
            node: node.map(str::to_owned),
        };
        let cases = [
            ("a node of ours", mesh(), shown(&east, &node("east", "east")), true),
            ("one of west, and ours was called", mesh(), shown(&west, &node("west", "west")), false),
            ("one of west", called("west"), shown(&west, &node("west", "west")), true),
            ("one of ours, and west was called", called("west"), shown(&east, &node("east", "east")), false),
            (
                "one of north, and west was called",
                called("west"),
                shown(&north, &node("north", "north")),
                false,
            ),
            ("another cluster of west", called("west"), shown(&west, &node("west", "south")), false),
            ("a service of west", called("west"), shown(&west, "spiffe://west.example/service/a"), false),
            ("the one of west", one("west", Some("a")), shown(&west, &node("west", "west")), true),
            ("any of west", one("west", None), shown(&west, &node("west", "west")), true),
            ("another of west", one("west", Some("b")), shown(&west, &node("west", "west")), false),
            ("the one of ours", one("west", Some("a")), shown(&east, &node("east", "east")), false),
            ("the one of north", one("west", Some("a")), shown(&north, &node("north", "north")), false),
            (
                "a service, and a node was called",
                one("west", None),
                shown(&west, "spiffe://west.example/service/a"),
                false,
            ),
            ("nobody is federated so", called("south"), shown(&west, &node("west", "south")), false),
        ];
        let (name, at) = (ServerName::try_from("localhost").unwrap(), UnixTime::now());
        for (what, believes, chain, expected) in cases {
            let client = LiveTlsClient::new(believes, ClientCertificate::Nothing, trust.clone());
            let judged = client.verify((&chain[0], &chain[1..]), &name, at);
            assert_eq!(judged.is_ok(), expected, "{what}: {judged:?}");
        }
    }

    #[tokio::test]
    async fn who_is_federated_no_longer_is_not_called_again() {
        let trust = Arc::new(MeshTrust::default());
        let client =
            LiveTlsClient::new(ServerTrust::Cluster("west".to_owned()), ClientCertificate::Nothing, trust);
        let refused = client.refresh().await.unwrap_err();
        assert!(refused.to_string().contains("`west` is not federated"), "{refused}");
    }

    /// A certificate and its key, in PEM.
    fn issued(by: &CertificateAuthority) -> [String; 2] {
        let key = PrivateKey::make().unwrap();
        let request =
            CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
                .unwrap();
        let id = "spiffe://m/service/relay".parse().unwrap();
        let issued = by.issue(&request, &id, &TlsNames::default(), by.validity()).unwrap();
        [to_pem(&issued.der), key.to_pem().to_string()]
    }

    #[tokio::test]
    async fn a_pair_of_which_one_file_is_new_is_shown_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let (cert, key) = (place.path().join("cert.pem"), place.path().join("key.pem"));
        let life = ValidityPeriod { not_before: unix_now() - 60, not_after: unix_now() + 3600 };
        let issuer = CertificateAuthority::root("m".parse().unwrap(), life)
            .unwrap()
            .intermediate("default", life)
            .unwrap();
        let shows = ClientCertificate::Files { cert: cert.clone(), key: key.clone() };
        let client = LiveTlsClient::new(ServerTrust::Mesh(ExpectedServers::Nodes), shows, Arc::default());
        let put = |path: &Path, text: &str| write_whole(path, text.as_bytes()).unwrap();
        let shown = || {
            let read = client.read.read();
            read.shown.as_ref().map(|shown| to_pem(&shown.cert[0]))
        };
        let [first, second] = [issued(&issuer), issued(&issuer)];
        put(&cert, &first[0]);
        put(&key, &second[1]);
        client.refresh().await.unwrap_err();
        assert_eq!(shown(), None, "there is none of before");
        put(&key, &first[1]);
        client.refresh().await.unwrap();
        assert_eq!(shown().as_ref(), Some(&first[0]));
        put(&cert, &second[0]);
        client.refresh().await.unwrap();
        assert_eq!(shown().as_ref(), Some(&first[0]));
        put(&key, &second[1]);
        client.refresh().await.unwrap();
        assert_eq!(shown().as_ref(), Some(&second[0]));
    }
}
