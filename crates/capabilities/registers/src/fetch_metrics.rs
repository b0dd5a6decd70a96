//! Metrics that a node keeps of the exchange of advertisements with other clusters.

use omnirelay_cluster_records::CLUSTERS_MAX;
use omnirelay_node::metrics::row::MetricLabel;
use omnirelay_settings::FEDERATED_CLUSTERS_MAX;

const CLUSTER: MetricLabel = MetricLabel::at_most(
    "cluster",
    FEDERATED_CLUSTERS_MAX + CLUSTERS_MAX,
    "clusters of `security.federatedClusters`, and other clusters of the trust domain",
);
const RESULT: MetricLabel = MetricLabel::each("result", || vec!["same", "changed", "not_ready", "failed"]);

omnirelay_node::metrics! {
    /// Metrics of exchanges.
    pub struct ExchangeMetrics {
        exchanges: Counters("omnirelay_advertisement_exchanges_total",
            "Times that a node of another cluster was asked what it advertises, by how that ended", &[CLUSTER, RESULT]),
    }
}

impl ExchangeMetrics {
    /// Counts one that ended as `result`: `same`, `changed`, `not_ready` or `failed`.
    pub fn count(&self, cluster: &str, result: &str) {
        self.exchanges.with_label_values(&[cluster, result]).inc();
    }

    /// Takes out the series of clusters that are asked no more.
    pub fn retain(&self, is_asked: impl Fn(&str) -> bool) {
        self.exchanges.retain(CLUSTER.name, is_asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_cluster_go_with_it() {
        let all = prometheus::Registry::new();
        let metrics = ExchangeMetrics::new(&all).unwrap();
        for cluster in ["west", "gone"] {
            metrics.count(cluster, "same");
        }
        metrics.retain(|cluster| cluster == "west");
        let text = prometheus::TextEncoder::new().encode_to_string(&all.gather()).unwrap();
        assert!(!text.contains("gone") && text.contains("west"), "{text}");
    }
}
