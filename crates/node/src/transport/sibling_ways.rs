//! Ways to nodes of other clusters of the trust domain: connections that stay open from one call to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{NeighbourPeer, NodeTransport};

/// Ways to nodes of other clusters, by cluster and address.
pub struct SiblingWays {
    transport: Arc<NodeTransport>,
    known: Mutex<BTreeMap<(String, String), NeighbourPeer>>,
}

impl SiblingWays {
    pub fn new(transport: Arc<NodeTransport>) -> Self {
        Self { transport, known: Mutex::default() }
    }

    /// Way to whichever node of a cluster is at an address.
    ///
    /// # Errors
    /// Why the address is none.
    pub fn to(&self, cluster: &str, endpoint: &str) -> Result<NeighbourPeer, String> {
        let key = (cluster.to_owned(), endpoint.to_owned());
        if let Some(known) = self.known.lock().get(&key) {
            return Ok(known.clone());
        }
        let way = self.transport.sibling_peer(endpoint, cluster, None)?;
        self.known.lock().insert(key, way.clone());
        Ok(way)
    }

    /// Forgets all ways but these, by their clusters and addresses.
    pub fn retain(&self, mut is_needed: impl FnMut(&str, &str) -> bool) {
        self.known.lock().retain(|(cluster, endpoint), _| is_needed(cluster, endpoint));
    }
}
