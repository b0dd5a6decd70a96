//! Metrics of domains that are followed.

use omnirelay_cluster_records::CLUSTERS_MAX;
use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::MetricLabel;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use pb::domain_replica::State;

/// How many domains have series.
const DOMAINS_SHOWN: usize = 16;

const DOMAIN: MetricLabel = MetricLabel::at_most("domain", DOMAINS_SHOWN, "domains that are followed");
const SOURCE: MetricLabel = MetricLabel::at_most("source", CLUSTERS_MAX, "clusters that are followed");

omnirelay_node::metrics! {
    /// Metrics of domains that are active in other clusters.
    pub(crate) struct ReplicationMetrics {
        lag: FloatGauges("mesh_replication_lag_seconds",
            "How much later, by the active cluster's clock, its newest known commit is than the newest that is here; grows while that cluster is silent", &[DOMAIN, SOURCE]),
        status: Gauges("mesh_replication_status",
            "1 while what is here of a domain is what its active cluster had a moment ago, 0 while it is loaded, braked, or that cluster is silent", &[DOMAIN, SOURCE]),
        braked: Gauges("mesh_replication_braked",
            "How many records of a domain wait for an operator's word to be deleted or replaced here", &[DOMAIN, SOURCE]),
        set_aside: Gauges("mesh_replication_set_aside",
            "How many records of a domain cannot be written here, and are missing or as they were before", &[DOMAIN, SOURCE]),
    }
}

impl ReplicationMetrics {
    /// Takes over how far domains are followed now.
    pub(crate) fn read(&self, domains: &[pb::Domain]) {
        self.lag.reset();
        self.status.reset();
        self.braked.reset();
        self.set_aside.reset();
        let followed = domains.iter().filter_map(|domain| Some((&domain.domain, domain.replica.as_ref()?)));
        for (domain, replica) in followed.take(DOMAINS_SHOWN) {
            let labels = [domain.as_str(), replica.source_cluster.as_str()];
            self.lag.with_label_values(&labels).set(f64::from(replica.lag_ms) / 1000.0);
            let follows = replica.state == State::Following as i32;
            self.status.with_label_values(&labels).set(i64::from(follows));
            let braked = u64::from(replica.braked_deletions) + u64::from(replica.braked_replacements);
            self.braked.with_label_values(&labels).set(gauge_value(braked));
            self.set_aside.with_label_values(&labels).set(gauge_value(replica.set_aside.len() as u64));
        }
    }
}
