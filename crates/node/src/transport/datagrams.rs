//! Datagrams among nodes, over whichever connection there is: one that this node has opened, or one that the other has.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_transport::datagrams::{self, UnsentDatagram};
use parking_lot::Mutex;

use super::{CalledMesh, NodeTransport};

/// Connections of one node that datagrams are sent over; the newest are kept.
const OF_ONE_MAX: usize = 4;

/// Receiver of the datagrams of other nodes, and the connections that those have opened.
#[derive(Clone)]
pub(super) struct DatagramReceivers(Arc<ReceiverState>);

struct ReceiverState {
    mesh: Arc<dyn CalledMesh>,
    accepted: Mutex<HashMap<String, Vec<quinn::Connection>>>,
}

impl DatagramReceivers {
    /// Hands what it hears to this mesh.
    pub(super) fn new(mesh: Arc<dyn CalledMesh>) -> Self {
        Self(Arc::new(ReceiverState { mesh, accepted: Mutex::default() }))
    }

    /// Hands over what a node has sent.
    pub(super) fn heard(&self, node: &str, datagram: Bytes) {
        self.0.mesh.heard(node, datagram);
    }

    /// The newest connection of a node that is open.
    fn of(&self, node: &str) -> Option<quinn::Connection> {
        let accepted = self.0.accepted.lock();
        accepted.get(node)?.iter().rev().find(|connection| connection.close_reason().is_none()).cloned()
    }

    /// Uses none of the connections of a node any more; they go on.
    pub(super) fn forget(&self, node: &str) {
        self.0.accepted.lock().remove(node);
    }

    async fn serve(self, node: String, connection: quinn::Connection) {
        let id = connection.stable_id();
        {
            let mut accepted = self.0.accepted.lock();
            let of_node = accepted.entry(node.clone()).or_default();
            of_node.push(connection.clone());
            if of_node.len() > OF_ONE_MAX {
                of_node.remove(0);
            }
        }
        let _ends = AcceptedGuard { datagrams: self.clone(), node: node.clone(), id };
        datagrams::hear(connection, |datagram| self.heard(&node, datagram)).await;
    }
}

/// A connection that is forgotten when it is served no more.
struct AcceptedGuard {
    datagrams: DatagramReceivers,
    node: String,
    id: usize,
}

impl Drop for AcceptedGuard {
    fn drop(&mut self) {
        let mut accepted = self.datagrams.0.accepted.lock();
        if let Some(of_node) = accepted.get_mut(&self.node) {
            of_node.retain(|connection| connection.stable_id() != self.id);
            if of_node.is_empty() {
                accepted.remove(&self.node);
            }
        }
    }
}

impl NodeTransport {
    /// Sends a datagram to a node, which may be lost. It opens no connection, and waits for nothing.
    ///
    /// # Errors
    /// [`UnsentDatagram`].
    pub fn send_datagram(&self, node: &str, datagram: Bytes) -> Result<(), UnsentDatagram> {
        let peer = self.peers.lock().get(node).cloned();
        let sent =
            peer.map_or(Err(UnsentDatagram::NoConnection), |peer| peer.send_datagram(datagram.clone()));
        match (sent, self.datagrams.of(node)) {
            (Err(UnsentDatagram::NoConnection), Some(accepted)) => datagrams::send(&accepted, datagram),
            (sent, _) => sent,
        }
    }

    /// Uses a connection over QUIC that a node of this mesh has opened, until that ends.
    pub fn use_accepted(
        &self,
        node: &str,
        connection: quinn::Connection,
    ) -> impl Future<Output = ()> + Send + use<> {
        self.datagrams.clone().serve(node.to_owned(), connection)
    }

    /// Has what is sent to a node next go over connections of its own, as where that has started again.
    pub fn reconnect(&self, node: &str) {
        self.datagrams.forget(node);
        if let Some(peer) = self.peers.lock().get(node) {
            peer.reconnect();
        }
    }

    /// Closes what there is to a node that is no member any more.
    pub fn forget(&self, node: &str) {
        self.datagrams.forget(node);
        self.peers.lock().remove(node);
        self.rtts.lock().remove(node);
    }

    /// Has HTTP/2 used to a node for a while, as datagrams do not come through to it and calls do.
    pub fn give_up_http3(&self, node: &str) {
        self.datagrams.forget(node);
        if let Some(peer) = self.peers.lock().get(node) {
            peer.give_up_http3();
        }
    }
}
