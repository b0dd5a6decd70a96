//! What a node counts of peers.

use omnirelay_node::metrics::registrar::{Registrar as _, level};
use prometheus::IntGaugeVec;

/// What is counted of peers.
pub struct PeersMetrics {
    peers: IntGaugeVec,
}

impl PeersMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let peers = all.gauges("omnirelay_peers", "Peers by status", &["status"])?;
        Ok(Self { peers })
    }

    /// Notes how many peers have a status.
    pub fn set(&self, status: &str, count: usize) {
        self.peers.with_label_values(&[status]).set(level(count));
    }
}
