//! Metrics that a node keeps of peers.

use omnirelay_node::metrics::registrar::gauge_value;

omnirelay_node::metrics! {
    /// Metrics of peers.
    pub struct PeersMetrics {
        peers: gauges("omnirelay_peers", "Peers by status", &["status"]),
    }
}

impl PeersMetrics {
    /// Notes how many peers have a status.
    pub fn set(&self, status: &str, count: usize) {
        self.peers.with_label_values(&[status]).set(gauge_value(count));
    }
}
