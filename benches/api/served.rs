//! The servers that are measured: a node with peers, and a bare one that answers the same bytes.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use omnirelay::daemon::audit::files::AuditFiles;
use omnirelay::daemon::config::Config;
use omnirelay::daemon::identity::Access;
use omnirelay::daemon::node::{Node, NodeSpec};
use omnirelay::daemon::objects::peers::PEER;
use omnirelay::daemon::parts;
use omnirelay_store::{Commit, Pulse, RecordId, Store, Write};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use pb::peer_control_service_client::PeerControlServiceClient;
use pb::peer_control_service_server::SERVICE_NAME;

/// A running node and its directory.
pub struct Served {
    node: Node,
    _place: tempfile::TempDir,
}

impl std::ops::Deref for Served {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// A node over `store` with `peers` further peers in its registry.
pub async fn node(store: Arc<dyn Store>, peers: usize) -> Result<Served> {
    let place = tempfile::tempdir()?;
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    for first in (0..peers).step_by(200) {
        let writes = (first..peers.min(first + 200)).map(|number| {
            let value = Bytes::from(peer_value(number).encode_to_vec());
            Write::Put { id: RecordId::new(PEER, format!("peer-{number:05}")), value, group: None }
        });
        store
            .commit(Commit {
                epoch,
                writes: writes.collect(),
                writer: "bench".to_owned(),
                ..Commit::default()
            })
            .await?;
    }
    let spec = NodeSpec {
        node_id: "bench".to_owned(),
        config: Arc::new(Config::default()),
        store,
        session_secret: "bench".to_owned(),
        listener: TcpListener::bind("127.0.0.1:0")?,
        relay: None,
        telemetry: std::path::PathBuf::new(),
        audit: AuditFiles::open(place.path(), "bench")?,
        process: None,
        parts: parts::ALL,
        access: Access::default(),
    };
    let node = Node::start(spec).await?;
    node.ready().await;
    Ok(Served { node, _place: place })
}

/// A peer that has left, so that nobody judges it: about 210 bytes as the API shows it.
fn peer_value(number: usize) -> PeerValue {
    let metadata = pb::PeerMetadata {
        role: "worker".to_owned(),
        cluster_id: "eu-1".to_owned(),
        region: "eu-west-1".to_owned(),
        zone: format!("eu-west-1{}", ['a', 'b', 'c'][number % 3]),
        mesh_version: "0.1.0".to_owned(),
        metadata_version: 9,
        labels: [("tier".to_owned(), "std".to_owned())].into(),
        endpoints: Some(pb::PeerEndpoints {
            control: Some("10.0.2.7:17420".to_owned()),
            mesh: None,
            relay: None,
        }),
        ..Default::default()
    };
    PeerValue {
        status: pb::peer::Status::Left.into(),
        status_reason: "stopped".to_owned(),
        status_since: Some(
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map(|since| omnirelay_wire::timestamp::Timestamp {
                    seconds: since.as_secs() as i64,
                    nanos: 0,
                })
                .unwrap_or_default(),
        ),
        metadata: Some(metadata),
        ..Default::default()
    }
}

/// Answers every call with the same message, as bare as tonic can.
#[derive(Clone)]
struct Bare(pb::GetPeerResponse);

impl NamedService for Bare {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let reply = self.0.clone();
        let answer = service_fn(move |_: Request<pb::GetPeerRequest>| {
            std::future::ready(Ok::<_, Status>(Response::new(reply.clone())))
        });
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(answer, request).await) })
    }
}

/// A bare tonic server that answers `reply`.
pub async fn bare(reply: pb::GetPeerResponse) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(Server::builder().add_service(Bare(reply)).serve_with_incoming(incoming));
    Ok(address)
}

pub async fn channel(address: SocketAddr) -> Result<Channel> {
    Endpoint::from_shared(format!("http://{address}"))?.connect().await.context("cannot connect")
}

pub async fn client(address: SocketAddr) -> Result<PeerControlServiceClient<Channel>> {
    let channel = channel(address).await?;
    Ok(PeerControlServiceClient::new(channel).max_decoding_message_size(64 << 20))
}
