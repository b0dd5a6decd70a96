//! The mesh transport: how this node calls others, over HTTP/3 or HTTP/2, with the identities of the mesh.

mod call_span;
pub mod channel;
mod datagrams;
mod greeting;
mod keep;
pub mod measure;
mod sibling_ways;
mod tls;
mod udp;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Authority;
use omnirelay_core::text::chain;
use omnirelay_host::log::{KeyedLogLimiter, LogTurn};
use omnirelay_identity::trust::MeshTrust;
use omnirelay_transport::carrier::{CallTarget, ConnectionProtocol};
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_transport::peer::{CallPath, Carriers, Peer, PeerObserver, UsedCarrier};
use omnirelay_transport::tcp::TcpCarrier;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::sync::{mpsc, watch};

use crate::metrics::TransportMetrics;
use channel::MeshChannel;
use datagrams::DatagramReceivers;
use greeting::CarrierGreeting;
use tls::NodeTlsRole;
use udp::LateUdp;

pub use greeting::GreetingAnswer;
pub use sibling_ways::SiblingWays;

/// What TLS calls nodes; who they are stands in their certificates.
const NAME: &str = "node.mesh";

/// Location where a node says that it is called by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLocation {
    /// `host:port`.
    pub mesh: String,
    /// Whether it serves HTTP/3.
    pub http3: bool,
}

/// The mesh that a transport calls: where its nodes are, how they are greeted, and who takes their datagrams.
pub trait CalledMesh: Send + Sync {
    /// Where a node may be, the likeliest first.
    fn locate(&self, node: &str) -> Vec<NodeLocation>;

    /// Greets whoever is at the other end of a channel; why there is nobody who can be talked to, in words.
    fn greet(&self, channel: MeshChannel) -> BoxFuture<'_, Result<GreetingAnswer, String>>;

    /// Takes a datagram of a node.
    fn heard(&self, node: &str, datagram: Bytes);
}

/// Reason why a node cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UncallableNode {
    #[error("node `{0}` does not say where its mesh port is")]
    Unknown(String),
    #[error("node `{0}` is this one")]
    Own(String),
}

/// Calls other nodes. Connections to one are shared by all calls to it.
pub struct NodeTransport {
    node_id: String,
    trust: Arc<MeshTrust>,
    carriers: Arc<Carriers>,
    /// The same to nodes of federated clusters, at their control ports: nobody greets there.
    federated: Arc<Carriers>,
    udp: watch::Sender<Option<quinn::Endpoint>>,
    mesh: Arc<dyn CalledMesh>,
    datagrams: DatagramReceivers,
    behind: mpsc::Sender<String>,
    metrics: Arc<TransportMetrics>,
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    /// What the log has of connections: whoever ends them has others opened.
    lines: Arc<KeyedLogLimiter<String>>,
    /// How far nodes are, and when that was measured.
    rtts: Mutex<HashMap<String, (Duration, Instant)>>,
}

impl NodeTransport {
    /// Of the node with this id. `behind` is told which node judges by an older list of revocations than this one; where nobody
    /// takes that in time, it is left out.
    pub fn new(
        node_id: &str,
        trust: Arc<MeshTrust>,
        mesh: Arc<dyn CalledMesh>,
        behind: mpsc::Sender<String>,
        (http3, metrics): (bool, Arc<TransportMetrics>),
    ) -> Self {
        let udp = watch::Sender::new(None);
        let greeted = |carrier| Arc::new(CarrierGreeting { carrier, mesh: mesh.clone() });
        let late = || Arc::new(LateUdp::new(udp.subscribe()));
        let (near, far) = (http3.then(|| greeted(late()) as _), http3.then(|| late() as _));
        let carriers = Arc::new(Carriers { http3: near, http2: greeted(Arc::new(TcpCarrier)) });
        let federated = Arc::new(Carriers { http3: far, http2: Arc::new(TcpCarrier) });
        Self {
            node_id: node_id.to_owned(),
            trust,
            carriers,
            federated,
            udp,
            datagrams: DatagramReceivers::new(mesh.clone()),
            mesh,
            behind,
            metrics,
            peers: Mutex::default(),
            lines: Arc::new(KeyedLogLimiter::of_members()),
            rtts: Mutex::default(),
        }
    }

    /// The number of the list of revocations that this node judges by.
    pub fn revocations_number(&self) -> u64 {
        self.trust.current().revocations.number()
    }

    /// Notes by which list of revocations a node judges.
    pub fn note_revocations(&self, node: &str, number: u64) {
        if number < self.revocations_number() {
            // Whoever is left out is greeted again.
            let _ = self.behind.try_send(node.to_owned());
        }
    }

    /// Calls over this socket from now on.
    pub fn use_udp(&self, endpoint: Option<quinn::Endpoint>) {
        self.udp.send_replace(endpoint);
    }

    /// Another node, where it is now.
    ///
    /// # Errors
    /// [`UncallableNode`].
    pub fn peer(&self, node: &str) -> Result<Arc<Peer>, UncallableNode> {
        if node == self.node_id {
            return Err(UncallableNode::Own(node.to_owned()));
        }
        let located = self.mesh.locate(node);
        // A constant that is one.
        let name = ServerName::try_from(NAME).map_err(|_| UncallableNode::Unknown(node.to_owned()))?;
        let http3 = located.iter().any(|located| located.http3);
        let targets: Vec<_> = located
            .into_iter()
            .map(|NodeLocation { mesh: address, .. }| CallTarget { address, name: name.clone() })
            .collect();
        let mut peers = self.peers.lock();
        let Some(target) = targets.first().cloned() else {
            peers.remove(node);
            return Err(UncallableNode::Unknown(node.to_owned()));
        };
        if let Some(known) = peers.get(node) {
            known.may_be_at(targets, http3);
            return Ok(known.clone());
        }
        let tls = Arc::new(NodeTlsRole::new(node, self.trust.clone()));
        let observer = Arc::new(MeshPeerObserver {
            node: node.to_owned(),
            metrics: self.metrics.clone(),
            datagrams: Some(self.datagrams.clone()),
            lines: self.lines.clone(),
        });
        let peer = Peer::new(self.carriers.clone(), tls, target, http3, observer);
        peer.may_be_at(targets, http3);
        peers.insert(node.to_owned(), peer.clone());
        Ok(peer)
    }

    /// Channel that a client of a service is made of, to call a node.
    ///
    /// # Errors
    /// [`UncallableNode`].
    pub fn channel(&self, node: &str, way: CallPath) -> Result<MeshChannel, UncallableNode> {
        Ok(MeshChannel::to(self.peer(node)?, way, Some(self.metrics.clone())))
    }

    /// The same over a connection of its own that is opened now, whatever else there is.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn other_channel(
        &self,
        node: &str,
        protocol: ConnectionProtocol,
    ) -> Result<MeshChannel, String> {
        let peer = self.peer(node).map_err(|error| chain(&error))?;
        let connection = peer.measured(protocol).await.map_err(|error| chain(&error))?;
        Ok(MeshChannel::over(connection))
    }

    /// A node of a federated cluster, at its control port; `None`: whichever is there. It is called over HTTP/2 until it says that
    /// it serves HTTP/3.
    ///
    /// # Errors
    /// Why the address is none.
    pub fn federated_peer(
        &self,
        control: &str,
        cluster: &str,
        node: Option<&str>,
    ) -> Result<NeighbourPeer, String> {
        self.peer_at(control, NodeTlsRole::of_cluster(cluster, node, self.trust.clone()))
    }

    /// A node of another cluster of the trust domain, at its control port; `None`: whichever is there. It is called as one of a
    /// federated cluster is.
    ///
    /// # Errors
    /// Why the address is none.
    pub fn sibling_peer(
        &self,
        control: &str,
        cluster: &str,
        node: Option<&str>,
    ) -> Result<NeighbourPeer, String> {
        self.peer_at(control, NodeTlsRole::of_sibling(cluster, node, self.trust.clone()))
    }

    /// A node outside of this mesh, at its control port.
    fn peer_at(&self, control: &str, tls: NodeTlsRole) -> Result<NeighbourPeer, String> {
        let authority: Authority = control.parse().map_err(|error| chain(&error))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| chain(&error))?;
        let target = CallTarget { address: control.to_owned(), name };
        let observer = Arc::new(NeighbourObserver { control: control.to_owned() });
        let peer = Peer::new(self.federated.clone(), Arc::new(tls), target.clone(), false, observer);
        let channel = MeshChannel::to(peer.clone(), CallPath::REPEATABLE, None);
        Ok(NeighbourPeer { peer, target, channel: channel.called(authority) })
    }

    /// Greets whichever node of the mesh is at an address.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn greet_at(&self, address: &str) -> Result<GreetingAnswer, String> {
        self.greet_by_tls(address, NodeTlsRole::any(self.trust.clone())).await
    }

    /// Greets whoever is at an address and shows a certificate of this node: this node itself, or another daemon that has its id.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn greet_namesake_at(&self, address: &str) -> Result<GreetingAnswer, String> {
        self.greet_by_tls(address, NodeTlsRole::new(&self.node_id, self.trust.clone())).await
    }

    async fn greet_by_tls(&self, address: &str, tls: NodeTlsRole) -> Result<GreetingAnswer, String> {
        let name = ServerName::try_from(NAME).map_err(|error| chain(&error))?;
        let target = CallTarget { address: address.to_owned(), name };
        let observer = Arc::new(MeshPeerObserver {
            node: address.to_owned(),
            metrics: self.metrics.clone(),
            datagrams: None,
            lines: self.lines.clone(),
        });
        let peer = Peer::new(self.carriers.clone(), Arc::new(tls), target, true, observer);
        self.mesh.greet(MeshChannel::to(peer, CallPath::REPEATABLE, Some(self.metrics.clone()))).await
    }

    /// Carrier by which a node is called now; `None`: it was not called yet.
    pub fn used(&self, node: &str) -> Option<UsedCarrier> {
        self.peers.lock().get(node).map(|peer| peer.used())
    }
}

/// Node of another mesh or another cluster, and the way to it.
#[derive(Clone)]
pub struct NeighbourPeer {
    peer: Arc<Peer>,
    target: CallTarget,
    pub channel: MeshChannel,
}

impl NeighbourPeer {
    /// Notes whether it serves HTTP/3, as it says.
    pub fn offers_http3(&self, offers: bool) {
        self.peer.may_be_at(vec![self.target.clone()], offers);
    }

    /// Carrier by which the node is called now.
    pub fn used(&self) -> UsedCarrier {
        self.peer.used()
    }
}

/// Tells what becomes of the connections to a node of another mesh or cluster: who calls it says what is wrong, and what the mesh
/// counts is of the mesh.
struct NeighbourObserver {
    control: String,
}

impl PeerObserver for NeighbourObserver {
    fn downgraded(&self, why: Downgrade) {
        let (control, reason) = (&self.control, why.word());
        tracing::debug!(control, reason, "neighbour called over HTTP/2 and not over HTTP/3");
    }

    fn connected(&self, protocol: ConnectionProtocol) {
        tracing::debug!(control = self.control, rpc_transport = protocol.word(), "neighbour connected");
    }

    fn heard(&self, _: Bytes) {}
}

/// Tells what becomes of the connections to a node.
struct MeshPeerObserver {
    node: String,
    metrics: Arc<TransportMetrics>,
    /// `None`: nobody takes those that come.
    datagrams: Option<DatagramReceivers>,
    lines: Arc<KeyedLogLimiter<String>>,
}

impl PeerObserver for MeshPeerObserver {
    fn downgraded(&self, why: Downgrade) {
        self.metrics.count_downgrade(why);
        if let Some(LogTurn { left_out }) = self.lines.turn(&self.node) {
            let (peer, reason) = (&self.node, why.word());
            tracing::warn!(peer, reason, left_out, "peer called over HTTP/2 and not over HTTP/3");
        }
    }

    fn connected(&self, protocol: ConnectionProtocol) {
        self.metrics.count_connection(protocol);
        if let Some(LogTurn { left_out }) = self.lines.turn(&self.node) {
            tracing::info!(peer = self.node, rpc_transport = protocol.word(), left_out, "peer connected");
        }
    }

    fn heard(&self, datagram: Bytes) {
        if let Some(datagrams) = &self.datagrams {
            datagrams.heard(&self.node, datagram);
        }
    }
}
