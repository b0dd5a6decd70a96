//! Asking the nodes that live what they say of themselves: at their mesh ports, or else at their control ports.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use omnirelay_decisions::check::facts::{NodeAnswer, NotAsked, is_alive};
use omnirelay_node::node_asker::{AskableNode, NodeAsker, NodeChannel, NodeQuestion};
use pb::check_service_client::CheckServiceClient;
use pb::node_service_client::NodeServiceClient;

use super::bounds::{bounded, bounded_host};
use super::pb;

/// The most other nodes that are asked, and how many at once.
const NODES_MAX: usize = 1000;
const ASKED_AT_ONCE: usize = 64;
/// How long one of them may take, at both of its ports, and all of them.
const NODE_PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer in bytes: what is said of each item of readiness is a few lines.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long judging a host may take, at both ports, and at the mesh port alone: names are looked up.
const HOST_PATIENCE: Duration = Duration::from_secs(6);
const HOST_MESH_PATIENCE: Duration = Duration::from_secs(4);

/// Question to a node about itself.
#[derive(Clone, Copy)]
struct AskNode;

impl NodeQuestion for AskNode {
    type Answer = pb::GetNodeResponse;
    const PATIENCE: Duration = NODE_PATIENCE;

    async fn ask(self, channel: impl NodeChannel) -> Result<pb::GetNodeResponse, tonic::Status> {
        let mut client = NodeServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(bounded(client.get(pb::GetNodeRequest {}).await?.into_inner()))
    }

    fn answered_by(answer: &pb::GetNodeResponse) -> &str {
        &answer.local_node_id
    }
}

/// Question what a node finds of its host.
#[derive(Clone, Copy)]
struct AskHost;

impl NodeQuestion for AskHost {
    type Answer = pb::CheckHostResponse;
    const PATIENCE: Duration = HOST_MESH_PATIENCE;

    /// Whoever answers judges its own host: the question is passed on once.
    async fn ask(self, channel: impl NodeChannel) -> Result<pb::CheckHostResponse, tonic::Status> {
        let mut client = CheckServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let asked = pb::CheckHostRequest { node_id: String::new() };
        Ok(bounded_host(client.check_host(asked).await?.into_inner()))
    }

    fn answered_by(answer: &pb::CheckHostResponse) -> &str {
        &answer.local_node_id
    }
}

/// Question which round trips a node has measured.
#[derive(Clone, Copy)]
struct AskRoundTrips;

impl NodeQuestion for AskRoundTrips {
    type Answer = pb::RoundTripsResponse;
    const PATIENCE: Duration = NODE_PATIENCE;

    /// Whoever answers tells its own, and asks nobody.
    async fn ask(self, channel: impl NodeChannel) -> Result<pb::RoundTripsResponse, tonic::Status> {
        let mut client = CheckServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let asked = pb::RoundTripsRequest { own: true, ..Default::default() };
        Ok(client.round_trips(asked).await?.into_inner())
    }

    fn answered_by(answer: &pb::RoundTripsResponse) -> &str {
        &answer.local_node_id
    }
}

/// Asks the nodes of a mesh that is checked.
pub struct MeshAsker(pub NodeAsker);

/// Answers of the nodes that were asked, in the order of their ids.
#[derive(Default)]
pub struct NodeAnswers {
    pub nodes: Vec<(pb::CheckedNode, NodeAnswer)>,
    /// How many more live.
    pub not_asked: usize,
}

/// Node that was asked, and what it said.
struct AskedNode<A> {
    node_id: String,
    /// Its port that answered.
    by: &'static str,
    said: Result<A, NotAsked>,
    took: Duration,
}

impl MeshAsker {
    /// Asks all others that live, or as many as are asked at most.
    pub async fn ask_all(&self, own: &str, peers: &[pb::Peer]) -> NodeAnswers {
        let others = peers.iter().filter(|peer| is_alive(peer) && peer.node_id != own);
        let others: Vec<AskableNode> = others.map(AskableNode::of).collect();
        let not_asked = others.len().saturating_sub(NODES_MAX);
        let asked = self.ask_each(AskNode, others.into_iter().take(NODES_MAX)).await;
        let mut nodes: Vec<_> = asked.into_iter().map(checked).collect();
        nodes.sort_by(|(one, _), (other, _)| one.node_id.cmp(&other.node_id));
        NodeAnswers { nodes, not_asked }
    }

    /// Asks a node to judge its host.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub async fn ask_host(&self, peer: &pb::Peer) -> Result<pb::CheckHostResponse, NotAsked> {
        let until = tokio::time::Instant::now() + HOST_PATIENCE;
        self.0.ask(AskHost, &AskableNode::of(peer), until).await.1
    }

    /// Asks nodes which round trips they have measured, each by its id.
    pub async fn ask_round_trips(
        &self,
        nodes: &[&pb::Peer],
    ) -> Vec<(String, Result<pb::RoundTripsResponse, NotAsked>)> {
        let places: Vec<AskableNode> = nodes.iter().map(|peer| AskableNode::of(peer)).collect();
        let asked = self.ask_each(AskRoundTrips, places.into_iter()).await;
        asked.into_iter().map(|asked| (asked.node_id, asked.said)).collect()
    }

    /// Puts a question to nodes, some at a time and in no order: one that is slow holds up nobody behind it.
    async fn ask_each<Q: NodeQuestion>(
        &self,
        question: Q,
        places: impl Iterator<Item = AskableNode>,
    ) -> Vec<AskedNode<Q::Answer>> {
        let all_until = tokio::time::Instant::now() + PATIENCE;
        let asked = places.map(async |place| {
            let began = Instant::now();
            let until = all_until.min(tokio::time::Instant::now() + NODE_PATIENCE);
            let (by, said) = self.0.ask(question.clone(), &place, until).await;
            AskedNode { node_id: place.node_id().to_owned(), by, said, took: began.elapsed() }
        });
        stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await
    }
}

fn checked(asked: AskedNode<pb::GetNodeResponse>) -> (pb::CheckedNode, NodeAnswer) {
    let AskedNode { node_id: id, by, said, took } = asked;
    let checked = pb::CheckedNode {
        node_id: id.clone(),
        by: by.to_owned(),
        trouble: said.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        took_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
        ..Default::default()
    };
    (checked, NodeAnswer { id, said: said.map(Box::new) })
}
