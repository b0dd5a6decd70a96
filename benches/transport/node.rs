//! A node as it calls another: by the identity of the daemon itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use omnirelay_transport::body::boxed;
use omnirelay_transport::carrier::{
    CallTarget, Carrier as _, ClientTls, Connection, ConnectionEnd, ConnectionProtocol, TlsStart,
};
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_transport::peer::{CallPath, Carriers, Peer, PeerObserver};
use omnirelay_transport::quic::{self, QuicCarrier, QuicLimits};
use omnirelay_transport::tcp::TcpCarrier;
use omnirelay_transport::{Body, BoxError};
use omnirelay_wire::pb::omnirelay::mesh::transport::v1::HelloRequest;
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::watch;

use crate::process::PATIENCE;
use crate::process::secured::Secured;

const PATH: &str = "https://bench.mesh/omnirelay.mesh.transport.v1.MeshTransportService/Hello";

pub(crate) type Carried = Arc<dyn Connection>;

/// Calls the daemon.
#[derive(Clone)]
pub(crate) struct Node {
    pub address: SocketAddr,
    tls: Arc<Tls>,
    http3: Arc<QuicCarrier>,
    hello: Bytes,
}

struct Tls {
    config: ClientConfig,
    rotated: watch::Sender<()>,
}

impl ClientTls for Tls {
    fn begin(&self) -> Result<TlsStart, BoxError> {
        let mut rotated = self.rotated.subscribe();
        let ends = Box::new(move |_| {
            let ends = async move {
                let _ = rotated.changed().await;
                ConnectionEnd::Retire("renewed")
            };
            Box::pin(ends) as BoxFuture<'static, ConnectionEnd>
        });
        Ok(TlsStart { config: self.config.clone(), ends })
    }
}

/// Hears of nothing.
struct Unobserved;

impl PeerObserver for Unobserved {
    fn downgraded(&self, _why: Downgrade) {}
    fn connected(&self, _protocol: ConnectionProtocol) {}
    fn heard(&self, _datagram: bytes::Bytes) {}
}

impl Node {
    pub(crate) async fn of(mesh: &Secured) -> Result<Self> {
        let identity = mesh.place.data_dir().join("identity/identity.pem");
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&identity)?.collect();
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(mesh.path("admin").join("bundle.pem"))? {
            roots.add(root?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain?, PrivateKeyDer::from_pem_file(&identity)?)?;
        config.resumption = rustls::client::Resumption::disabled();
        let hello = HelloRequest {
            node_id: "bench".to_owned(),
            version_min: 1,
            version_max: 1,
            ..HelloRequest::default()
        };
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(hello.encoded_len())?);
        hello.encode(&mut framed)?;
        let tls = Arc::new(Tls { config, rotated: watch::Sender::new(()) });
        Ok(Self { address: mesh_port(mesh).await?, tls, http3: socket()?, hello: framed.freeze() })
    }

    /// Another one, with a socket of its own.
    pub(crate) fn another(&self) -> Result<Self> {
        Ok(Self { http3: socket()?, ..self.clone() })
    }

    /// Has all connections make room for new ones, as a node that has a new certificate does.
    pub(crate) fn rotate(&self) {
        self.tls.rotated.send_replace(());
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self, protocol: ConnectionProtocol) -> Result<Carried> {
        let target = target(self.address);
        Ok(match protocol {
            ConnectionProtocol::Http3 => self.http3.connect(&target, &*self.tls).await?,
            ConnectionProtocol::Http2 => TcpCarrier.connect(&target, &*self.tls).await?,
        })
    }

    /// The daemon as it is reached at an address, over HTTP/3 if it is said to serve that.
    pub(crate) fn peer(&self, address: SocketAddr, offers: bool) -> Arc<Peer> {
        let carriers = Arc::new(Carriers { http3: Some(self.http3.clone()), http2: Arc::new(TcpCarrier) });
        Peer::new(carriers, self.tls.clone(), target(address), offers, Arc::new(Unobserved))
    }

    /// A small call over one connection.
    pub(crate) async fn hello(&self, connection: &Carried) -> Result<()> {
        answered(connection.call(self.request()).await?).await
    }

    /// The same over whatever connection there is.
    pub(crate) async fn call(&self, peer: &Arc<Peer>, way: CallPath) -> Result<()> {
        answered(peer.call(self.request(), way).await?).await
    }

    fn request(&self) -> Request<Body> {
        let request = Request::post(PATH).header("content-type", "application/grpc").header("te", "trailers");
        request.body(boxed(Full::new(self.hello.clone()))).unwrap()
    }
}

fn socket() -> Result<Arc<QuicCarrier>> {
    Ok(Arc::new(QuicCarrier::new(
        quic::endpoint(quic::bind("127.0.0.1:0".parse()?)?)?,
        QuicLimits::default(),
    )))
}

fn target(address: SocketAddr) -> CallTarget {
    CallTarget { address: address.to_string(), name: ServerName::try_from("bench.mesh").unwrap() }
}

async fn answered(response: Response<Body>) -> Result<()> {
    let at_once = response.headers().get("grpc-status").cloned();
    let whole = response.into_body().collect().await.map_err(anyhow::Error::from_boxed)?;
    let status = whole.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned().or(at_once);
    ensure!(status.as_ref().is_some_and(|status| status == "0"), "{status:?}");
    Ok(())
}

/// Where the mesh port of the daemon is, once it is open.
async fn mesh_port(mesh: &Secured) -> Result<SocketAddr> {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        let listed = mesh.by("admin", "mesh peers get bench -o json")?;
        let peer: serde_json::Value = serde_json::from_str(&listed.output).unwrap_or_default();
        if let Some(address) = peer["peer"]["metadata"]["endpoints"]["mesh"].as_str() {
            return Ok(address.parse()?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None.context("the daemon does not say where its mesh port is")
}
