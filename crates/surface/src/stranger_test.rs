//! Tests of what ports under TLS spend on strangers, over TCP and UDP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::buckets::CallRate;
use omnirelay_identity::client::{ClientCertificate, LiveTlsClient, ServerTrust};
use omnirelay_identity::handshake::HandshakeFailure;
use omnirelay_identity::handshake_budget::HandshakeBudget;
use omnirelay_identity::lab::authority;
use omnirelay_identity::node_identity::NodeIdentity;
use omnirelay_identity::tls::ListenerTls;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_pki::authority::CertificateAuthority;
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::trust::{CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX, TrustBundle};
use omnirelay_transport::handshake_bytes::HANDSHAKE_BYTES_MAX;
use omnirelay_transport::{h3, quic};
use parking_lot::Mutex;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::*;
use crate::{FailedHandshake, FinishedCall, RequestObserver};

/// How many handshakes may come to nothing.
const FEW: u8 = 4;
/// Far longer than what is waited for takes.
const AT_LAST: Duration = Duration::from_secs(30);

/// Record of the handshakes that came to nothing, as they were told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<HandshakeFailure>>>);

impl RequestObserver for Told {
    fn finished(&self, _: &FinishedCall<'_>) {}

    fn unshaken(&self, handshake: &FailedHandshake<'_>) {
        self.0.lock().push(handshake.cause);
    }
}

impl Told {
    /// Returns once so many were told of, which may be after the client has heard of it.
    async fn has(&self, cause: HandshakeFailure, times: usize) {
        let all = async {
            while self.0.lock().iter().filter(|told| **told == cause).count() != times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let told = tokio::time::timeout(AT_LAST, all).await;
        told.unwrap_or_else(|_| panic!("{times} of {cause:?}: {:?}", self.0.lock()));
    }
}

/// A node that `by` has certified, shows `besides` as well, and believes `root`.
fn node(
    root: &CertificateAuthority,
    by: &CertificateAuthority,
    besides: &[CertificateDer<'static>],
) -> Arc<MeshTrust> {
    let (key, id) =
        (PrivateKey::make().unwrap(), "spiffe://mesh.test/mesh/default/worker/a".parse().unwrap());
    let request =
        CertificateRequest::read(&CertificateRequest::make(&key, Some(&id), &TlsNames::default()).unwrap())
            .unwrap();
    let issued = by.issue(&request, &id, &TlsNames::default(), by.validity()).unwrap();
    let chain = std::iter::once(issued.der).chain(besides.iter().cloned()).collect();
    let trust = Arc::new(MeshTrust::default());
    trust.update(|trusted| {
        trusted.bundle = Some(TrustBundle::of(vec![root.certificate().clone()]).unwrap());
        trusted.cluster = "default".to_owned();
        trusted.own = Some(Arc::new(NodeIdentity::of(&key, chain).unwrap()));
    });
    trust
}

/// A port that nodes alone are served at, over both.
struct Served {
    root: CertificateAuthority,
    tcp: SocketAddr,
    udp: SocketAddr,
    told: Told,
    _tasks: JoinSet<DrainOutcome>,
}

async fn served() -> Served {
    let (root, told, mut tasks) = (authority(), Told::default(), JoinSet::new());
    let budget = HandshakeBudget::of(CallRate { burst: f64::from(FEW), each_second: 1e-6 });
    let tls = Arc::new(ListenerTls::among_nodes(node(&root, &root, &[])).drawing_on(budget));
    let surface = || Surface::builder([OMNIRELAY]).observer(Arc::new(told.clone())).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = quic::endpoint(quic::bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
    let (tcp, udp) = (listener.local_addr().unwrap(), endpoint.local_addr().unwrap());
    let limits = ListenerLimits::default();
    tasks.spawn(serve_with(listener, Some(tls.clone()), surface(), limits, std::future::pending()));
    tasks.spawn(serve_quic(endpoint, Some(tls), (surface(), None), limits, std::future::pending()));
    Served { root, tcp, udp, told, _tasks: tasks }
}

impl Served {
    /// What a node of the mesh begins with, or somebody who shows this.
    fn client(&self, shows: ClientCertificate, own: Arc<MeshTrust>) -> ClientConfig {
        let mut config = LiveTlsClient::new(ServerTrust::AnyNode, shows, own).config().unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    fn member(&self) -> ClientConfig {
        self.client(ClientCertificate::Node, node(&self.root, &self.root, &[]))
    }

    fn nobody(&self) -> ClientConfig {
        self.client(ClientCertificate::Nothing, node(&self.root, &self.root, &[]))
    }

    /// Whether a client of this is let in over TCP.
    async fn lets_in(&self, config: ClientConfig) -> bool {
        let stream = TcpStream::connect(self.tcp).await.unwrap();
        let name = "node.mesh".try_into().unwrap();
        let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
            return false;
        };
        let begun = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        let _ = stream.write_all(&begun).await;
        let read = tokio::time::timeout(AT_LAST, stream.read(&mut [0; 9])).await.expect("an answer");
        read.is_ok_and(|read| read > 0)
    }

    /// The same over UDP: that it is not, with what a connection is closed.
    async fn lets_in_over_udp(&self, mut config: ClientConfig) -> Result<(), quinn::ConnectionError> {
        config.alpn_protocols = vec![h3::ALPN.to_vec()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let endpoint = quic::endpoint(quic::bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let connection = endpoint.connect_with(config, self.udp, "node.mesh").unwrap().await?;
        // Its control stream is the first that a server opens.
        let begun = tokio::time::timeout(AT_LAST, connection.accept_uni()).await.expect("an answer");
        begun.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_handshakes_come_to_nothing_is_dropped_unread() {
    let served = served().await;
    for _ in 0..2 * FEW {
        assert!(served.lets_in(served.member()).await, "what succeeds is given back");
    }
    for _ in 0..FEW {
        assert!(!served.lets_in(served.nobody()).await);
    }
    served.told.has(HandshakeFailure::NoCertificate, FEW.into()).await;
    // Before it has said anything.
    let mut silent = TcpStream::connect(served.tcp).await.unwrap();
    let closed = tokio::time::timeout(AT_LAST, silent.read(&mut [0; 1])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    served.told.has(HandshakeFailure::TooMany, 1).await;
    // It is one budget for all ways to a port.
    assert!(refused(&served.lets_in_over_udp(served.member()).await));
}

fn refused(outcome: &Result<(), quinn::ConnectionError>) -> bool {
    let refused = quinn::TransportErrorCode::CONNECTION_REFUSED;
    matches!(outcome, Err(quinn::ConnectionError::ConnectionClosed(closed)) if closed.error_code == refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_udp_as_well() {
    let served = served().await;
    for _ in 0..2 * FEW {
        served.lets_in_over_udp(served.member()).await.unwrap();
    }
    for _ in 0..FEW {
        let outcome = served.lets_in_over_udp(served.nobody()).await;
        assert!(outcome.is_err() && !refused(&outcome), "{outcome:?}");
    }
    let outcome = served.lets_in_over_udp(served.member()).await;
    assert!(refused(&outcome), "{outcome:?}");
    served.told.has(HandshakeFailure::TooMany, 1).await;
    assert!(!served.lets_in(served.member()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_made_to_be_costly_is_refused_as_such() {
    let (served, stranger) = (served().await, authority());
    let besides = vec![stranger.certificate().clone(); CHAIN_CERTIFICATES_MAX];
    let costly = || served.client(ClientCertificate::Node, node(&served.root, &stranger, &besides));
    assert!(!served.lets_in(costly()).await);
    served.lets_in_over_udp(costly()).await.unwrap_err();
    served.told.has(HandshakeFailure::ChainTooLong, 2).await;
    // As few as may be, and too large together: over UDP, what comes beyond is not read at all.
    let large = [0, 1].map(|last| CertificateDer::from([vec![0; CHAIN_BYTES_MAX / 2], vec![last]].concat()));
    let large = served.client(ClientCertificate::Node, node(&served.root, &served.root, &large));
    assert!(!served.lets_in(large).await);
    let long =
        [0, 1].map(|last| CertificateDer::from([vec![0; HANDSHAKE_BYTES_MAX / 2], vec![last]].concat()));
    let long = served.client(ClientCertificate::Node, node(&served.root, &served.root, &long));
    let closed = served.lets_in_over_udp(long).await.unwrap_err();
    assert!(closed.to_string().contains("CRYPTO frames"), "{closed}");
    served.told.has(HandshakeFailure::ChainTooLong, FEW.into()).await;
    // A server that shows one is refused as much.
    let costly = Arc::new(ListenerTls::of_node(node(&served.root, &served.root, &besides)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _serving = JoinSet::from_iter([async move {
        let (stream, _) = listener.accept().await.unwrap();
        costly.accept(stream).await.map(drop)
    }]);
    let stream = TcpStream::connect(address).await.unwrap();
    let connecting = TlsConnector::from(Arc::new(served.member())).connect("a".try_into().unwrap(), stream);
    let error = connecting.await.map(drop).unwrap_err();
    assert!(error.to_string().contains("certificates"), "{error}");
}

/// A datagram in the name of somebody else has less sent to them than it took.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_proven_is_sent_little() {
    let served = served().await;
    let (hears, speaks) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let mut config = served.member();
    config.alpn_protocols = vec![h3::ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let endpoint = quic::endpoint(quic::bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
    let _connecting = endpoint.connect_with(config, hears.local_addr().unwrap(), "node.mesh").unwrap();
    let mut datagram = vec![0; 64 * 1024];
    let sent = hears.recv(&mut datagram).await.unwrap();
    speaks.send_to(&datagram[..sent], served.udp).await.unwrap();
    let mut answered = speaks.recv(&mut datagram).await.unwrap();
    // What else comes, comes by then, or is repeated later.
    while let Ok(more) = tokio::time::timeout(Duration::from_secs(2), speaks.recv(&mut datagram)).await {
        answered += more.unwrap();
    }
    assert!(answered < sent, "{answered} bytes for {sent}");
}
