//! Asking the nodes that live what they say of themselves: at their mesh ports, or else at their control ports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body::Body;
use omnirelay_core::text::{chain, printable};
use omnirelay_decisions::check::facts::{NodeAnswer, NotAsked, control_of, is_alive};
use omnirelay_identity::client::{ClientCertificate, LiveTlsClient, ServerTrust};
use omnirelay_identity::connector::LiveTlsConnector;
use omnirelay_identity::trust::{MeshTrust, unix_now};
use omnirelay_node::transport::NodeTransport;
use omnirelay_transport::peer::CallPath;
use omnirelay_wire::fault::{Code, Fault, unanswered};
use pb::check_service_client::CheckServiceClient;
use pb::node_service_client::NodeServiceClient;
use tonic::client::GrpcService;
use tonic::transport::Endpoint;
use tower::BoxError;

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
/// What TLS says of a certificate that counts at another time, in lower case, and what [`chain`] makes of it.
const AT_ANOTHER_TIME: [&str; 5] =
    ["certificate expired", "certificate: expired", "certificateexpired", "not valid yet", "notvalidyet"];
/// What is said where somebody answers and will not be asked so: by TLS, or where one speaks TLS and the other does not.
const NOT_SO: [&str; 11] = [
    "alert",
    "certificate",
    "handshake",
    "tls",
    "corrupt message",
    "invalidcontenttype",
    "invalid content type",
    "http2 error",
    "protocol error",
    "invalid http",
    "frame with invalid size",
];

/// How long judging a host may take, at both ports, and at the mesh port alone: names are looked up.
const HOST_PATIENCE: Duration = Duration::from_secs(6);
const HOST_MESH_PATIENCE: Duration = Duration::from_secs(4);

/// Channel that carries a question to a node.
trait NodeChannel:
    GrpcService<
        tonic::body::Body,
        ResponseBody: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
        Error: Into<BoxError>,
        Future: Send,
    > + Send
{
}

impl<T> NodeChannel for T where
    T: GrpcService<
            tonic::body::Body,
            ResponseBody: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
            Error: Into<BoxError>,
            Future: Send,
        > + Send
{
}

/// Question that a node is asked.
trait NodeQuestion: Copy + Send + Sync {
    type Answer: Send;
    /// How long the answer may take at the mesh port.
    const PATIENCE: Duration;

    /// Its answer, within bounds.
    fn ask(
        self,
        channel: impl NodeChannel,
    ) -> impl Future<Output = Result<Self::Answer, tonic::Status>> + Send;

    /// The node that has answered.
    fn answered_by(answer: &Self::Answer) -> &str;
}

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

/// Asks other nodes.
pub struct NodeAsker {
    pub transport: Arc<NodeTransport>,
    pub trust: Arc<MeshTrust>,
}

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

/// Node that can be asked, and its ports.
struct AskableNode {
    node_id: String,
    has_mesh_port: bool,
    /// It has no certificate, and so no TLS by one.
    is_plain: bool,
    control: Option<String>,
}

impl AskableNode {
    fn of(peer: &pb::Peer) -> Self {
        let endpoints = peer.metadata.as_ref().and_then(|said| said.endpoints.as_ref());
        Self {
            node_id: peer.node_id.clone(),
            has_mesh_port: endpoints.is_some_and(|endpoints| endpoints.mesh.is_some()),
            is_plain: peer.unproven == "no_certificate",
            control: control_of(peer).map(str::to_owned),
        }
    }
}

impl NodeAsker {
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
        self.ask(AskHost, &AskableNode::of(peer), until).await.1
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
            let (by, said) = self.ask(question, &place, until).await;
            AskedNode { node_id: place.node_id, by, said, took: began.elapsed() }
        });
        stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await
    }

    /// Puts a question to a node, and says at which of its ports it was answered.
    async fn ask<Q: NodeQuestion>(
        &self,
        question: Q,
        place: &AskableNode,
        until: tokio::time::Instant,
    ) -> (&'static str, Result<Q::Answer, NotAsked>) {
        let began = Instant::now();
        let asked = tokio::time::timeout_at(until, self.ask_at_ports(question, place)).await;
        let (by, said) = asked.unwrap_or_else(|_| {
            let waited = began.elapsed().as_millis();
            ("", Err(NotAsked::Silent(format!("no answer within {waited} ms"))))
        });
        let said = said.and_then(|said| match Q::answered_by(&said) {
            id if id == place.node_id => Ok(said),
            id => Err(NotAsked::NoWay(format!("{} answers at its address", printable(id)))),
        });
        (by, said)
    }

    /// At its mesh port, where both have certificates; where there is none, or what is sent there comes back, at its control port.
    async fn ask_at_ports<Q: NodeQuestion>(
        &self,
        question: Q,
        place: &AskableNode,
    ) -> (&'static str, Result<Q::Answer, NotAsked>) {
        let has_own = self.trust.current().own.is_some();
        let mut at_mesh = None;
        if has_own && place.has_mesh_port {
            match self.ask_at_mesh(question, &place.node_id).await {
                Ok(said) => return ("mesh", Ok(said)),
                Err(trouble) => at_mesh = Some(trouble),
            }
        }
        let at_control = match &place.control {
            Some(control) => self.ask_at_control(question, place, control, has_own && !place.is_plain).await,
            None => Err(NotAsked::NoWay("it does not say where its control port is".to_owned())),
        };
        match at_control {
            Ok(said) => ("control", Ok(said)),
            // What is wrong at the port that nodes call is what is wrong.
            Err(trouble) => ("", Err(at_mesh.unwrap_or(trouble))),
        }
    }

    async fn ask_at_mesh<Q: NodeQuestion>(&self, question: Q, node: &str) -> Result<Q::Answer, NotAsked> {
        let channel = self.transport.channel(node, CallPath::REPEATABLE);
        let channel = channel.map_err(|error| NotAsked::NoWay(chain(&error)))?.within(Q::PATIENCE);
        question.ask(channel).await.map_err(|status| self.refused(&status, "at its mesh port"))
    }

    /// Under TLS whoever answers has to show the certificate of this very node.
    async fn ask_at_control<Q: NodeQuestion>(
        &self,
        question: Q,
        place: &AskableNode,
        control: &str,
        under_tls: bool,
    ) -> Result<Q::Answer, NotAsked> {
        let (scheme, shows) =
            if under_tls { ("https", ClientCertificate::Node) } else { ("http", ClientCertificate::Nothing) };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{control}"));
        let endpoint = endpoint.map_err(|error| NotAsked::NoWay(format!("{control}: {}", chain(&error))))?;
        let tls = LiveTlsClient::new(ServerTrust::Node(place.node_id.clone()), shows, self.trust.clone());
        let channel = endpoint.connect_with_connector_lazy(LiveTlsConnector::new(tls, NODE_PATIENCE));
        question.ask(channel).await.map_err(|status| self.refused(&status, &format!("at {control}")))
    }

    /// Why a node says nothing.
    fn refused(&self, status: &tonic::Status, place: &str) -> NotAsked {
        let fault = Fault::from(status);
        if fault.code == Code::Unimplemented {
            return NotAsked::Older;
        }
        if matches!(fault.code, Code::Unauthenticated | Code::PermissionDenied) {
            let message = printable(&fault.message);
            return NotAsked::NoWay(format!("{place} it lets in nobody without proof: {message}"));
        }
        let all = chain(status).to_lowercase();
        let why = format!("{place}: {}", printable(&unanswered(status)));
        if !is_about_time(&all) {
            let is_refused = NOT_SO.iter().any(|words| all.contains(words));
            return if is_refused { NotAsked::NoWay(why) } else { NotAsked::Silent(why) };
        }
        // Of one's own certificate that has ended the clocks of others are not to blame.
        let own = self.trust.current().own.clone();
        let counts = own.is_none_or(|own| (own.leaf.not_before..=own.leaf.not_after).contains(&unix_now()));
        match counts {
            true => NotAsked::AtAnotherTime(why),
            false => NotAsked::NoWay(format!("{why} (the certificate of this node has ended, or not begun)")),
        }
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

/// Whether what went wrong is that a certificate counts at another time than now, by one of the clocks.
fn is_about_time(why: &str) -> bool {
    let why = why.to_lowercase();
    AT_ANOTHER_TIME.iter().any(|words| why.contains(words))
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError as Why;
    use rustls::pki_types::UnixTime;
    use rustls::{AlertDescription, Error};

    use super::*;

    #[test]
    fn a_certificate_that_counts_at_another_time_is_told_from_others() {
        let at = |second| UnixTime::since_unix_epoch(Duration::from_secs(second));
        let (time, other) = (at(99), at(9));
        let of_time = [
            Why::Expired,
            Why::NotValidYet,
            Why::ExpiredContext { time, not_after: other },
            Why::NotValidYetContext { time: other, not_before: time },
        ];
        for why in of_time {
            let why = Error::InvalidCertificate(why);
            for told in [why.to_string(), chain(&why)] {
                assert!(is_about_time(&told), "{told}");
            }
        }
        for why in [Why::UnknownIssuer, Why::Revoked, Why::BadSignature] {
            let why = Error::InvalidCertificate(why);
            for told in [why.to_string(), chain(&why)] {
                assert!(!is_about_time(&told), "{told}");
            }
        }
        let alerts =
            [(AlertDescription::CertificateExpired, true), (AlertDescription::CertificateRevoked, false)];
        for (alert, expected) in alerts {
            let alert = Error::AlertReceived(alert);
            for told in [alert.to_string(), chain(&alert)] {
                assert_eq!(is_about_time(&told), expected, "{told}");
            }
        }
    }
}
