//! Metrics that a node keeps of peers.

use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::{MetricLabel, enum_words};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer::Status;

const STATUS: MetricLabel = MetricLabel::each("status", || enum_words(Status::as_str_name));

/// Words for the health of peers that do not answer.
pub const SUSPECT: &str = "suspect";
pub const DEAD: &str = "dead";
const HEALTH: MetricLabel = MetricLabel::each("mesh_health", || vec![SUSPECT, DEAD]);

omnirelay_node::metrics! {
    /// Metrics of peers.
    pub struct PeersMetrics {
        peers: Gauges("omnirelay_peers", "Peers by status", &[STATUS]),
        unexpected: Gauges("mesh_peers_unexpected",
            "Peers that do not answer, as this node knows by gossip and by their sessions, but for those that are drained or cordoned",
            &[HEALTH]),
    }
}

impl PeersMetrics {
    /// Notes how many peers have a status.
    pub fn set(&self, status: &str, count: usize) {
        self.peers.with_label_values(&[status]).set(gauge_value(count));
    }

    /// Notes how many peers do not answer that should.
    pub fn set_unexpected(&self, health: &str, count: usize) {
        self.unexpected.with_label_values(&[health]).set(gauge_value(count));
    }
}
