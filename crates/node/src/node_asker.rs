//! Asking another node of the mesh: at its mesh port, or else at its control port.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;
use omnirelay_core::text::{chain, printable};
use omnirelay_decisions::check::facts::{NotAsked, control_of};
use omnirelay_identity::client::{ClientCertificate, LiveTlsClient, ServerTrust};
use omnirelay_identity::connector::LiveTlsConnector;
use omnirelay_identity::trust::{MeshTrust, unix_now};
use omnirelay_transport::peer::CallPath;
use omnirelay_wire::fault::{Code, Fault, unanswered};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::Peer;
use omnirelay_wire::reasons;
use tonic::client::GrpcService;
use tonic::transport::Endpoint;
use tower::BoxError;

use crate::transport::NodeTransport;

/// How long a connection to a control port may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
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

/// Channel that carries a question to a node.
pub trait NodeChannel:
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
pub trait NodeQuestion: Clone + Send + Sync {
    type Answer: Send;
    /// How long the answer may take at the mesh port.
    const PATIENCE: Duration;

    /// Its answer, within bounds.
    ///
    /// # Errors
    /// That of the call.
    fn ask(
        self,
        channel: impl NodeChannel,
    ) -> impl Future<Output = Result<Self::Answer, tonic::Status>> + Send;

    /// The node that has answered.
    fn answered_by(answer: &Self::Answer) -> &str;
}

/// Asks other nodes.
#[derive(Clone)]
pub struct NodeAsker {
    pub transport: Arc<NodeTransport>,
    pub trust: Arc<MeshTrust>,
}

/// Node that can be asked, and its ports.
pub struct AskableNode {
    node_id: String,
    has_mesh_port: bool,
    /// It has no certificate, and so no TLS by one.
    is_plain: bool,
    control: Option<String>,
}

impl AskableNode {
    /// As a peer says of itself.
    pub fn of(peer: &Peer) -> Self {
        let endpoints = peer.metadata.as_ref().and_then(|said| said.endpoints.as_ref());
        Self {
            node_id: peer.node_id.clone(),
            has_mesh_port: endpoints.is_some_and(|endpoints| endpoints.mesh.is_some()),
            is_plain: peer.unproven == "no_certificate",
            control: control_of(peer).map(str::to_owned),
        }
    }

    /// Its id.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }
}

impl NodeAsker {
    /// Puts a question to a node, and says at which of its ports it was answered.
    ///
    /// # Errors
    /// [`NotAsked`], beside an empty name of a port.
    pub async fn ask<Q: NodeQuestion>(
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
            match self.ask_at_mesh(question.clone(), &place.node_id).await {
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
        let channel = endpoint.connect_with_connector_lazy(LiveTlsConnector::new(tls, CONNECT_PATIENCE));
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

/// Refuses what another node was to be asked. An older daemon `lacks` something, for which there is something `instead`; `hint` is for all
/// else.
pub fn not_asked(node_id: &str, why: &NotAsked, (lacks, instead): (&str, &str), hint: &str) -> Fault {
    if *why == NotAsked::Older {
        let message = format!("the daemon of `{node_id}` is older, and {lacks}");
        return Fault::new(reasons::NODE_OLDER, message).hint(instead);
    }
    Fault::new(reasons::NODE_NOT_ASKED, format!("node `{node_id}` could not be asked: {why}"))
        .hint(hint)
        .detail("nodeId", node_id)
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
