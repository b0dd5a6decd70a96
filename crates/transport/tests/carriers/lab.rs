//! A server that speaks HTTP/3 and HTTP/2 at one port, and a client for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use omnirelay_transport::body::boxed;
use omnirelay_transport::carrier::{CallTarget, ClientTls, ConnectionEnd, ConnectionProtocol, TlsStart};
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_transport::peer::{Carriers, Peer, PeerObserver};
use omnirelay_transport::quic::{self, QuicCarrier};
use omnirelay_transport::tcp::TcpCarrier;
use omnirelay_transport::{Body, BoxError, datagrams, h3};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A server. Dropping it ends it as a crash would.
pub(crate) struct Server {
    pub address: SocketAddr,
    pub calls: Arc<AtomicUsize>,
    drain: watch::Sender<bool>,
    pub tls: Arc<Tls>,
    endpoint: quinn::Endpoint,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        Self::start_with(address, quic::QuicLimits::default()).await
    }

    pub(crate) async fn start_with(address: &str, limits: quic::QuicLimits) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["node.mesh".to_owned()]).unwrap();
        let trusted = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![trusted.clone()], key)
            .unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let endpoint = quic::endpoint(quic::bind(address).unwrap()).unwrap();
        endpoint.set_server_config(Some(quic::server_config(tls.clone(), limits).unwrap()));
        let (calls, drain) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(over_quic(endpoint.clone(), calls.clone(), drain.subscribe()));
        tasks.spawn(over_tcp(tcp, tls, calls.clone()));
        let tls = Arc::new(Tls { trusted, ended: watch::Sender::new(None) });
        Self { address, calls, drain, tls, endpoint, _tasks: tasks }
    }

    /// Begins to drain its QUIC connections.
    pub(crate) fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Number of connections over QUIC that are open.
    pub(crate) fn open_over_udp(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Has connections over QUIC taken again, after a drain.
    pub(crate) fn undrain(&self) {
        self.drain.send_replace(false);
    }

    /// Stops answering over UDP.
    pub(crate) fn stop_udp(&self) {
        self.endpoint.close(0_u32.into(), b"");
    }

    /// A peer that finds the server at this address.
    pub(crate) fn peer_at(&self, address: SocketAddr) -> (Arc<Peer>, Arc<Told>) {
        self.peer_from("127.0.0.1:0", address)
    }

    /// The same, for a node that listens at an address of its own.
    pub(crate) fn peer_from(&self, own: &str, address: SocketAddr) -> (Arc<Peer>, Arc<Told>) {
        let own = quic::endpoint(quic::bind(own.parse().unwrap()).unwrap()).unwrap();
        let http3 = Arc::new(QuicCarrier::new(own, quic::QuicLimits::default()));
        let carriers = Arc::new(Carriers { http3: Some(http3), http2: Arc::new(TcpCarrier) });
        let told = Arc::new(Told::default());
        (Peer::new(carriers, self.tls.clone(), target(address), true, Arc::new(Tells(told.clone()))), told)
    }

    pub(crate) fn peer(&self) -> (Arc<Peer>, Arc<Told>) {
        self.peer_at(self.address)
    }
}

pub(crate) fn target(address: SocketAddr) -> CallTarget {
    CallTarget { address: address.to_string(), name: ServerName::try_from("node.mesh").unwrap() }
}

/// Record of what a peer has told of.
#[derive(Default)]
pub(crate) struct Told(pub Mutex<Vec<String>>, Mutex<Vec<Bytes>>);

pub(crate) struct Tells(Arc<Told>);

impl PeerObserver for Tells {
    fn downgraded(&self, why: Downgrade) {
        self.0.0.lock().push(format!("downgraded: {}", why.word()));
    }

    fn connected(&self, protocol: ConnectionProtocol) {
        self.0.0.lock().push(protocol.word().to_owned());
    }

    fn heard(&self, datagram: Bytes) {
        self.0.1.lock().push(datagram);
    }
}

impl Told {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }

    /// The datagrams that have come since.
    pub(crate) fn datagrams(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.1.lock())
    }
}

pub(crate) struct Tls {
    trusted: CertificateDer<'static>,
    /// Has all connections end so.
    pub ended: watch::Sender<Option<ConnectionEnd>>,
}

impl ClientTls for Tls {
    fn begin(&self) -> Result<TlsStart, BoxError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.trusted.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (trusted, mut ended) = (self.trusted.clone(), self.ended.subscribe());
        ended.mark_unchanged();
        let ends = Box::new(move |chain: Vec<CertificateDer<'static>>| {
            assert_eq!(chain, [trusted], "what the server has shown");
            let ends = async move {
                match ended.changed().await {
                    Ok(()) => ended.borrow().unwrap_or(ConnectionEnd::Retire("renewed")),
                    Err(_) => std::future::pending().await,
                }
            };
            Box::pin(ends) as BoxFuture<'static, ConnectionEnd>
        });
        Ok(TlsStart { config, ends })
    }
}

async fn over_quic(endpoint: quinn::Endpoint, calls: Arc<AtomicUsize>, drain: watch::Receiver<bool>) {
    let limits = h3::Http3Limits {
        head_bytes_max: 16 * 1024,
        head_within: Duration::from_secs(5),
        write_within: Duration::from_secs(2),
    };
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let (calls, mut drain) = (calls.clone(), drain.clone());
        tasks.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let draining = async move {
                let _ = drain.wait_for(|drains| *drains).await;
            };
            let service = move |request| serve(request, calls.clone());
            // Each comes back, backwards.
            let echo = connection.clone();
            let heard = datagrams::hear(connection.clone(), move |datagram| {
                let back: Bytes = datagram.iter().rev().copied().collect();
                let _ = datagrams::send(&echo, back);
            });
            let _ends_with_it = AbortOnDrop(tokio::spawn(heard).abort_handle());
            let _ = h3::serve(connection, limits, draining, service).await;
        });
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn over_tcp(listener: TcpListener, mut tls: rustls::ServerConfig, calls: Arc<AtomicUsize>) {
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let mut tasks = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, calls) = (acceptor.clone(), calls.clone());
        tasks.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
                let calls = calls.clone();
                async move { Ok::<_, std::convert::Infallible>(serve(request.map(boxed), calls).await) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Answers by the path that is asked for.
async fn serve(request: Request<Body>, calls: Arc<AtomicUsize>) -> Response<Body> {
    calls.fetch_add(1, Ordering::Relaxed);
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        Frame::trailers(trailers)
    };
    match request.uri().path() {
        // What came, and trailers.
        "/echo" => {
            let bytes = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            let frames = [Ok::<_, BoxError>(Frame::data(bytes.unwrap_or_default())), Ok(trailers())];
            Response::new(boxed(StreamBody::new(futures_util::stream::iter(frames))))
        }
        // A body that goes on after its trailers.
        "/endless" => {
            let frames = std::iter::repeat_with(move || Ok::<_, BoxError>(trailers()));
            Response::new(boxed(StreamBody::new(futures_util::stream::iter(frames))))
        }
        // A body that fails in the middle.
        "/broken" => {
            let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err(BoxError::from("broken"))];
            Response::new(boxed(StreamBody::new(futures_util::stream::iter(frames))))
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Response::new(boxed(Full::new(Bytes::from_static(b"late"))))
        }
        "/never" => std::future::pending().await,
        // Each frame of the request as one of the answer, while it comes.
        "/stream" => Response::new(request.into_body()),
        path => panic!("{path}"),
    }
}

/// A call with a body.
pub(crate) fn asked(path: &str, body: &'static [u8]) -> Request<Body> {
    let uri = format!("https://node.mesh{path}");
    Request::post(uri).body(boxed(Full::new(Bytes::from_static(body)))).unwrap()
}
