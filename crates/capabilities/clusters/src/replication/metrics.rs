//! Metrics of domains that are followed.

use omnirelay_cluster_records::CLUSTERS_MAX;
use omnirelay_core::time::Millis;
use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::MetricLabel;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::timestamp::millis;

use pb::domain_replica::State;

/// How many domains have series.
const DOMAINS_SHOWN: usize = 16;

const DOMAIN: MetricLabel =
    MetricLabel::at_most("domain", DOMAINS_SHOWN, "domains, the first by their names");
const FOLLOWER: MetricLabel = MetricLabel::at_most("follower", CLUSTERS_MAX, "clusters that follow");
const SOURCE: MetricLabel = MetricLabel::at_most("source", CLUSTERS_MAX, "clusters that are followed");

omnirelay_node::metrics! {
    /// Metrics of domains, those that are active in other clusters and those that other clusters follow.
    pub(crate) struct ReplicationMetrics {
        lag: FloatGauges("mesh_replication_lag_seconds",
            "How much later, by the active cluster's clock, its newest known commit is than the newest that is here; grows while that cluster is silent", &[DOMAIN, SOURCE]),
        status: Gauges("mesh_replication_status",
            "1 while what is here of a domain is what its active cluster had a moment ago, 0 while it is loaded, braked, or that cluster is silent", &[DOMAIN, SOURCE]),
        braked: Gauges("mesh_replication_braked",
            "How many records of a domain wait for an operator's word to be deleted or replaced here", &[DOMAIN, SOURCE]),
        set_aside: Gauges("mesh_replication_set_aside",
            "How many records of a domain cannot be written here, and are missing or as they were before", &[DOMAIN, SOURCE]),
        window: FloatGauges("mesh_replication_window_seconds",
            "How long ago, by the store's clock, a cluster that follows had all of a domain that is active here, as it has said last, which is every few seconds: what was committed since may be lost with this cluster", &[DOMAIN, FOLLOWER]),
    }
}

impl ReplicationMetrics {
    /// Takes over how far domains are followed at `now`, here and by clusters that are `known`.
    pub(crate) fn read(&self, domains: &[pb::Domain], now: Millis, known: impl Fn(&str) -> bool) {
        self.lag.reset();
        self.status.reset();
        self.braked.reset();
        self.set_aside.reset();
        self.window.reset();
        for domain in domains.iter().filter(|domain| !domain.followers.is_empty()).take(DOMAINS_SHOWN) {
            for follower in domain.followers.iter().filter(|follower| known(&follower.cluster_id)) {
                let Some(until) = follower.durable_until.as_ref().map(millis) else { continue };
                let labels = [domain.domain.as_str(), follower.cluster_id.as_str()];
                self.window.with_label_values(&labels).set(now.since(until).as_secs_f64());
            }
        }
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
