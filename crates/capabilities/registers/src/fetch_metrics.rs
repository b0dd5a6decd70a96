//! Metrics that a node keeps of the exchange of advertisements with federated clusters.

omnirelay_node::metrics! {
    /// Metrics of exchanges.
    pub struct ExchangeMetrics {
        exchanges: counters("omnirelay_advertisement_exchanges_total",
            "Times that a node of a federated cluster was asked what it advertises, by how that ended", &["cluster", "result"]),
    }
}

impl ExchangeMetrics {
    /// Counts one that ended as `result`: `same`, `changed`, `not_ready` or `failed`.
    pub fn count(&self, cluster: &str, result: &str) {
        self.exchanges.with_label_values(&[cluster, result]).inc();
    }
}
