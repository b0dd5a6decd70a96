//! Metrics that a node keeps of its registers and of what is advertised.

use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::MetricLabel;
use omnirelay_settings::PEER_SERVICES_MAX;
use omnirelay_wire::pb::omnirelay::registers::v1::SyncCounts;

/// Counts of the advertisements that a pool shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Of this node.
    pub local: usize,
    /// Of other nodes.
    pub remote: usize,
    /// Of this node's, those that were not confirmed since it started.
    pub unverified: usize,
    /// Of this node's, those that wait for the store.
    pub deferred: usize,
}

/// Says how many advertisements the pool shows now.
pub type CountPool = Arc<dyn Fn() -> PoolCounts + Send + Sync>;

const ADVERTISE: MetricLabel = MetricLabel::each("advertise", || vec!["true", "false"]);
const ORIGIN: MetricLabel = MetricLabel::each("origin", || vec!["local", "remote"]);
const TARGET: MetricLabel = MetricLabel::at_most(
    "target",
    1 + PEER_SERVICES_MAX,
    "pools: `local`, and those of `registers.peerServices`",
);
const RESULT: MetricLabel = MetricLabel::each("result", || vec!["success", "drift", "failed"]);
const CHANGE: MetricLabel = MetricLabel::each("kind", || vec!["added", "updated", "removed"]);

omnirelay_node::metrics! {
    /// Metrics of registers and their advertisements.
    pub struct RegistersMetrics {
        registers: Gauges("omnirelay_registers", "Registers that this node hosts", &[ADVERTISE]),
        advertisements: Gauges("omnirelay_advertisements",
            "Advertisements that this node shows, its own (`local`) and those of others", &[ORIGIN]),
        deferred: Gauge("omnirelay_advertisements_deferred",
            "Advertisements of this node that wait for the store"),
        runs: Counters("omnirelay_resync_runs_total",
            "Runs that pushed the catalogue to a pool, by how they ended", &[TARGET, RESULT]),
        changes: Counters("omnirelay_resync_changes_total",
            "What those runs have changed, as the pools say", &[CHANGE]),
        last_success: FloatGauges("omnirelay_resync_last_success_timestamp_seconds",
            "When the catalogue was last pushed to a pool in full or in part, by the store's clock", &[TARGET]),
        drift: Gauges("omnirelay_resync_drift",
            "Advertisements that should go and that no automatic run dares to remove", &[TARGET]),
    }
}

impl RegistersMetrics {
    /// Counts a run that ended as `result`: `success`, `drift` or `failed`.
    pub fn count_run(&self, target: &str, result: &str) {
        self.runs.with_label_values(&[target, result]).inc();
    }

    /// Counts what a run has changed.
    pub fn count_changes(&self, counts: &SyncCounts) {
        for (kind, n) in [("added", counts.added), ("updated", counts.updated), ("removed", counts.removed)] {
            self.changes.with_label_values(&[kind]).inc_by(u64::from(n));
        }
    }

    /// Notes when a run succeeded.
    pub fn set_last_success(&self, target: &str, at: Millis) {
        self.last_success.with_label_values(&[target]).set(at.0 as f64 / 1000.0);
    }

    /// Notes how many entries of a pool should go and were left.
    pub fn set_drift(&self, target: &str, drifted: u32) {
        self.drift.with_label_values(&[target]).set(i64::from(drifted));
    }

    /// Forgets how a pool stands that is not pushed to any more.
    pub fn forget(&self, target: &str) {
        self.runs.retain(TARGET.name, |known| known != target);
        // Of one that never succeeded nothing is there.
        let _ = self.last_success.remove_label_values(&[target]);
        let _ = self.drift.remove_label_values(&[target]);
    }

    /// Notes how many registers this node hosts, advertised and not.
    pub fn set_registers(&self, advertised: usize, others: usize) {
        self.registers.with_label_values(&["true"]).set(gauge_value(advertised));
        self.registers.with_label_values(&["false"]).set(gauge_value(others));
    }

    /// Notes how many advertisements the pool shows.
    pub fn set_pool(&self, counts: PoolCounts) {
        self.advertisements.with_label_values(&["local"]).set(gauge_value(counts.local));
        self.advertisements.with_label_values(&["remote"]).set(gauge_value(counts.remote));
        self.deferred.set(gauge_value(counts.deferred));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_pool_go_with_it() {
        let all = prometheus::Registry::new();
        let metrics = RegistersMetrics::new(&all).unwrap();
        for target in ["local", "elsewhere"] {
            metrics.count_run(target, "failed");
            metrics.set_last_success(target, Millis(1));
            metrics.set_drift(target, 1);
        }
        metrics.forget("elsewhere");
        let text = prometheus::TextEncoder::new().encode_to_string(&all.gather()).unwrap();
        assert!(!text.contains("elsewhere"), "{text}");
        assert_eq!(text.matches("target=\"local\"").count(), 3, "{text}");
    }
}
