//! `omnirelayd` on an embedded store with a thousand peers.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use omnirelay_peer_records::PEER;
use omnirelay_store::{Commit, EmbeddedStore, Pulse, RecordId, Store, Write};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::pb::aeroarc::registry::v1::aero_registry_client::AeroRegistryClient;
use omnirelay_wire::pb::aeroarc::registry::v1::{
    Agent, HeartbeatAgentRequest, HeartbeatAgentsRequest, HeartbeatAgentsResponse, RegisterAgentRequest,
    RegisterRelayRequest, Relay,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use pb::peer_control_service_client::PeerControlServiceClient;
use prost::Message;
use tonic::Streaming;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::load::{IN_FLIGHT, Stream};
use crate::process::{self, CONNECTIONS, Process};

pub(crate) const DAEMON: &str = env!("CARGO_BIN_EXE_omnirelayd");
/// The stream by which a relay says of its agents that they live.
pub(crate) const HEARTBEATS: &str = "/aeroarc.registry.v1.AeroRegistry/HeartbeatAgents";
const RELAY: &str = "relay-1";
/// How many agents have a heart that beats.
pub(crate) const AGENTS: usize = 1_000;

pub(crate) struct Ours {
    pub process: Process,
    pub relay_port: std::net::SocketAddr,
}

/// Starts a daemon over an embedded store that has this many peers.
pub(crate) async fn start(peers: usize) -> Result<Ours> {
    let data = tempfile::tempdir()?;
    fill(data.path(), peers).await?;
    start_on(data, &["--set", "registry.agentTtl=1h"]).await
}

/// Starts a daemon over a store that has nothing.
pub(crate) async fn empty(options: &[&str]) -> Result<Ours> {
    start_on(tempfile::tempdir()?, options).await
}

async fn start_on(data: tempfile::TempDir, options: &[&str]) -> Result<Ours> {
    let (control, relay_port, http) = (process::address()?, process::address()?, process::address()?);
    let mut command = Command::new(DAEMON);
    command
        .arg("--data-dir")
        .arg(data.path())
        .args(["--node-id", "bench", "--control-listen", &control.to_string()])
        .args(["--relay-listen", &relay_port.to_string(), "--relay-http-listen", &http.to_string()])
        .args(["--service", "registry", "--set", "registry.relayTtl=1h"])
        .args(options);
    let process = Process::start(command, data, control).await?;
    let ours = Ours { process, relay_port };
    let channel = ours.process.channels().await?.swap_remove(0);
    while list(channel.clone()).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(ours)
}

/// A store with this many peers that have left, each of about 256 bytes.
pub(crate) async fn fill(data: &Path, peers: usize) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(data)?);
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let metadata = pb::PeerMetadata {
        role: "worker".to_owned(),
        cluster_id: "eu-1".to_owned(),
        region: "eu-west-1".to_owned(),
        zone: "eu-west-1a".to_owned(),
        mesh_version: "0.2.0".to_owned(),
        labels: [("tier".to_owned(), "standard".to_owned()), ("team".to_owned(), "a".repeat(120))].into(),
        ..Default::default()
    };
    let value = PeerValue {
        status: pb::peer::Status::Left.into(),
        status_reason: "stopped".to_owned(),
        status_since: Some(omnirelay_wire::timestamp::Timestamp { seconds: now as i64, nanos: 0 }),
        metadata: Some(metadata),
        ..Default::default()
    };
    let value = Bytes::from(value.encode_to_vec());
    for first in (0..peers).step_by(250) {
        let writes = (first..peers.min(first + 250)).map(|number| Write::Put {
            id: RecordId::new(PEER, key(number)),
            value: value.clone(),
            group: None,
        });
        let writes = writes.collect();
        store.commit(Commit { epoch, writes, writer: "bench".into(), ..Commit::default() }).await?;
    }
    Ok(())
}

pub(crate) fn key(number: usize) -> String {
    format!("peer-{number:05}")
}

pub(crate) async fn get(channel: Channel, node_id: String) -> Result<()> {
    let request = pb::GetPeerRequest { node_id, ..Default::default() };
    PeerControlServiceClient::new(channel).get(request).await?;
    Ok(())
}

/// How long the answer to a reading is.
pub(crate) async fn answer_bytes(channel: Channel, node_id: String) -> Result<usize> {
    let request = pb::GetPeerRequest { node_id, ..Default::default() };
    Ok(PeerControlServiceClient::new(channel).get(request).await?.into_inner().encoded_len())
}

/// An answer of List split into its items, as etcd's is here; neither is decoded further.
#[derive(Clone, PartialEq, prost::Message)]
struct Split {
    #[prost(bytes = "bytes", repeated, tag = "9")]
    peers: Vec<Bytes>,
}

pub(crate) async fn list(channel: Channel) -> Result<usize> {
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
    grpc.ready().await?;
    let codec = ProstCodec::<pb::ListPeersRequest, Split>::default();
    let path = PathAndQuery::from_static("/omnirelay.mesh.control.v1.PeerControlService/List");
    let request = tonic::Request::new(pb::ListPeersRequest::default());
    Ok(grpc.unary(request, path, codec).await?.into_inner().peers.len())
}

/// A durable change with its audit record, of a record of 256 bytes; `turn` makes it one. The version that it has then.
pub(crate) async fn cordon(
    channel: Channel,
    node_id: String,
    turn: u64,
    expected: Option<u64>,
) -> Result<u64> {
    let reason = turn.to_string();
    let request = pb::CordonPeerRequest { node_id, reason, expected_version: expected, ..Default::default() };
    let answer = PeerControlServiceClient::new(channel).cordon(request).await?.into_inner();
    Ok(answer.peer.map_or(0, |peer| peer.version))
}

pub(crate) async fn watch(
    channel: Channel,
    node_id: &str,
) -> Result<Streaming<EncodedMessage<pb::PeerEvent>>> {
    let request = pb::WatchPeersRequest { node_id: vec![node_id.to_owned()], ..Default::default() };
    let mut events = PeerControlServiceClient::new(channel).watch(request).await?.into_inner();
    while events.message().await?.is_some_and(|event| event.r#type() != pb::peer_event::Type::Synced) {}
    Ok(events)
}

impl Ours {
    /// Connections to the registry of relays and agents, in which there are [`AGENTS`].
    pub(crate) async fn registry(&self) -> Result<Vec<Channel>> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(Endpoint::from_shared(format!("http://{}", self.relay_port))?.connect().await?);
        }
        let mut client = AeroRegistryClient::new(channels[0].clone());
        let relay = Relay {
            relay_id: RELAY.to_owned(),
            address: "10.0.0.1".to_owned(),
            grpc_port: 50051,
            ..Relay::default()
        };
        client.register_relay(RegisterRelayRequest { relay: Some(relay) }).await?;
        for number in 0..AGENTS {
            let agent = Some(Agent { agent_id: drone(number), ..Agent::default() });
            client.register_agent(RegisterAgentRequest { agent, relay_id: RELAY.to_owned() }).await?;
        }
        Ok(channels)
    }
}

fn drone(number: usize) -> String {
    format!("drone-{number:05}")
}

fn heartbeat_of(number: usize) -> HeartbeatAgentRequest {
    let (agent_id, relay_id) = (drone(number % AGENTS), RELAY.to_owned());
    HeartbeatAgentRequest { agent_id, timestamp_unix_ms: 0, relay_id }
}

/// Streams of heartbeats, each of an agent of its own.
pub(crate) async fn streams(
    channels: &[Channel],
) -> Result<Vec<Stream<HeartbeatAgentsRequest, HeartbeatAgentsResponse>>> {
    let mut streams = Vec::new();
    for number in 0..IN_FLIGHT {
        let channel = channels[number % channels.len()].clone();
        let message = HeartbeatAgentsRequest { relay_id: RELAY.to_owned(), agent_id: vec![drone(number)] };
        streams.push(Stream::open(channel, HEARTBEATS, message).await?);
    }
    Ok(streams)
}

/// How long a heartbeat is as it is sent.
pub(crate) fn heartbeat_bytes() -> usize {
    heartbeat_of(0).encoded_len()
}

pub(crate) async fn heartbeat(channel: Channel, number: usize) -> Result<()> {
    AeroRegistryClient::new(channel).heartbeat_agent(heartbeat_of(number)).await?;
    Ok(())
}
