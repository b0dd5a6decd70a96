//! What a node counts of the exchange of advertisements with federated clusters.

use omnirelay_node::metrics::registrar::Registrar as _;
use prometheus::IntCounterVec;

/// What is counted of exchanges.
pub struct ExchangeMetrics {
    exchanges: IntCounterVec,
}

impl ExchangeMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let exchanges = all.counters(
            "omnirelay_advertisement_exchanges_total",
            "Times that a node of a federated cluster was asked what it advertises, by how that ended",
            &["cluster", "result"],
        )?;
        Ok(Self { exchanges })
    }

    /// Counts one that ended as `result`: `same`, `changed`, `not_ready` or `failed`.
    pub fn count(&self, cluster: &str, result: &str) {
        self.exchanges.with_label_values(&[cluster, result]).inc();
    }
}
