//! Metrics that a node keeps of peers.

use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::{MetricLabel, enum_words};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer::Status;

const STATUS: MetricLabel = MetricLabel::each("status", || enum_words(Status::as_str_name));

omnirelay_node::metrics! {
    /// Metrics of peers.
    pub struct PeersMetrics {
        peers: Gauges("omnirelay_peers", "Peers by status", &[STATUS]),
    }
}

impl PeersMetrics {
    /// Notes how many peers have a status.
    pub fn set(&self, status: &str, count: usize) {
        self.peers.with_label_values(&[status]).set(gauge_value(count));
    }
}
