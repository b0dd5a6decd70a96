//! The servers that are measured: a node with peers, and a bare one that answers the same bytes.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream::Empty;
use omnirelay::daemon::audit::files::AuditFiles;
use omnirelay::daemon::config::Config;
use omnirelay::daemon::identity::Access;
use omnirelay::daemon::node::{Node, NodeSpec};
use omnirelay::daemon::objects::peers::PEER;
use omnirelay::daemon::parts;
use omnirelay_store::{Commit, Pulse, RecordId, Store, Write};
use omnirelay_wire::encoded::Encoded;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use pb::peer_control_service_client::PeerControlServiceClient;
use pb::peer_control_service_server::{PeerControlService, PeerControlServiceServer};

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

/// Answers every Get with the same message, and nothing else.
struct Bare(pb::GetPeerResponse);

#[tonic::async_trait]
impl PeerControlService for Bare {
    type WatchStream = Empty<Result<Encoded<pb::PeerEvent>, Status>>;

    async fn get(&self, _: Request<pb::GetPeerRequest>) -> Result<Response<pb::GetPeerResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }
    async fn list(
        &self,
        _: Request<pb::ListPeersRequest>,
    ) -> Result<Response<pb::ListPeersResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn watch(&self, _: Request<pb::WatchPeersRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn cordon(&self, _: Request<pb::CordonPeerRequest>) -> Result<Response<pb::PeerChange>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn uncordon(
        &self,
        _: Request<pb::UncordonPeerRequest>,
    ) -> Result<Response<pb::PeerChange>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn update_labels(
        &self,
        _: Request<pb::UpdatePeerLabelsRequest>,
    ) -> Result<Response<pb::PeerChange>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn drain(&self, _: Request<pb::DrainPeerRequest>) -> Result<Response<pb::PeerChange>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn undrain(&self, _: Request<pb::UndrainPeerRequest>) -> Result<Response<pb::PeerChange>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn get_drain(
        &self,
        _: Request<pb::GetDrainRequest>,
    ) -> Result<Response<pb::GetDrainResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn forget(&self, _: Request<pb::ForgetPeerRequest>) -> Result<Response<pb::PeerChange>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A bare tonic server that answers `reply`.
pub async fn bare(reply: pb::GetPeerResponse) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = PeerControlServiceServer::new(Bare(reply));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    Ok(address)
}

pub async fn channel(address: SocketAddr) -> Result<Channel> {
    Endpoint::from_shared(format!("http://{address}"))?.connect().await.context("cannot connect")
}

pub async fn client(address: SocketAddr) -> Result<PeerControlServiceClient<Channel>> {
    let channel = channel(address).await?;
    Ok(PeerControlServiceClient::new(channel).max_decoding_message_size(64 << 20))
}
