//! Metrics that a node keeps of shards. What becomes of them is counted by the daemon that did it.

use std::collections::BTreeSet;
use std::time::Duration;

use omnirelay_node::metrics::registrar::{gauge_value, retain};
use prometheus::IntCounterVec;

/// The label of those that are of a namespace.
const NAMESPACE: &str = "mesh_namespace";

omnirelay_node::metrics! {
    /// Metrics of shards.
    pub struct ShardMetrics {
        state: gauges("mesh_rebalance_state",
            "What is being done with the shards of a namespace: 1 for its state", &["mesh_namespace", "mesh_state"]),
        moving: gauges("mesh_rebalance_shards_moving",
            "Shards that are between two owners", &["mesh_namespace"]),
        unowned: gauges("mesh_shards_unowned", "Shards that nobody owns", &["mesh_namespace"]),
        imbalance: ratios_by("mesh_shards_imbalance",
            "The most shards that a node has beside its share by weight, which is rounded up", &["mesh_namespace"]),
        overloaded: gauges("mesh_shards_nodes_overloaded",
            "Nodes that have had too much to do for as long as the policy says", &["mesh_namespace"]),
        concurrent: counters("mesh_shards_concurrent_owners_total",
            "Shards that a worker of this node served although another node owned them by then", &["mesh_namespace"]),
        waiting: gauges("mesh_rebalance_plans_waiting",
            "Plans that wait for somebody to approve or to apply them", &["mesh_namespace"]),
        waited: seconds_by("mesh_rebalance_plan_wait_seconds",
            "How long the oldest of them has waited", &["mesh_namespace"]),
        moves: counters("mesh_rebalance_moves_total",
            "Shards that this daemon gave another owner", &["mesh_namespace", "mesh_cause"]),
        failures: counters("mesh_rebalance_failed_steps_total",
            "Steps with shards that the store did not make; they are tried again", &["mesh_namespace"]),
        approvals: counters("mesh_rebalance_plan_approvals_total",
            "What was said to plans through this daemon", &["mesh_namespace", "mesh_decision"]),
        durations: histograms("mesh_rebalance_duration_seconds",
            "From the beginning of a plan to its end, of those that this daemon ended", &["mesh_namespace", "mesh_state"],
            &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0]),
        told: counters("mesh_shards_webhook_deliveries_total",
            "What this daemon has told the webhook, or has not", &["mesh_outcome"]),
    }
}

/// A namespace as its series say it.
#[derive(Clone, Debug, Default)]
pub struct NamespaceGauges {
    pub namespace: String,
    pub state: &'static str,
    pub moving: usize,
    pub unowned: usize,
    pub imbalance: Option<f64>,
    pub overloaded: usize,
    /// How long each plan has waited for somebody.
    pub waiting: Vec<Duration>,
}

impl ShardMetrics {
    /// Counts a shard that got another owner.
    pub fn count_move(&self, namespace: &str, cause: &str) {
        self.moves.with_label_values(&[namespace, cause]).inc();
    }

    /// Counts a step that was not made.
    pub fn count_failure(&self, namespace: &str) {
        self.failures.with_label_values(&[namespace]).inc();
    }

    /// Counts a shard that a worker of this node serves, and another node owns.
    pub fn count_concurrent(&self, namespace: &str) {
        self.concurrent.with_label_values(&[namespace]).inc();
    }

    /// Number of shards of a namespace served here though another node owned them, and of steps that were not made.
    pub fn wrong(&self, namespace: &str) -> (u64, u64) {
        let of = |counters: &IntCounterVec| counters.with_label_values(&[namespace]).get();
        (of(&self.concurrent), of(&self.failures))
    }

    /// Counts what was told to the webhook: `delivered`, `refused`, `given_up` or `lost`.
    pub fn count_told(&self, outcome: &str) {
        self.told.with_label_values(&[outcome]).inc();
    }

    /// Counts what somebody has said to a plan, such as `approved`.
    pub fn count_decision(&self, namespace: &str, decision: &str) {
        self.approvals.with_label_values(&[namespace, decision]).inc();
    }

    /// Notes a plan that has ended, and how long it took if it had begun.
    pub fn count_ended(&self, namespace: &str, state: &str, took: Option<Duration>) {
        if let Some(took) = took {
            self.durations.with_label_values(&[namespace, state]).observe(took.as_secs_f64());
        }
    }

    /// Brings what is read off the registry up to date. Where these are all namespaces that there are, series of others go.
    pub fn read(&self, namespaces: &[NamespaceGauges], are_all: bool) {
        for gauges in [&self.state, &self.moving, &self.unowned, &self.waiting, &self.overloaded] {
            gauges.reset();
        }
        self.imbalance.reset();
        self.waited.reset();
        for outcome in ["delivered", "refused", "given_up", "lost"] {
            self.told.with_label_values(&[outcome]);
        }
        let names: BTreeSet<&str> = namespaces.iter().map(|of| of.namespace.as_str()).collect();
        let is_there = |name: &str| !are_all || names.contains(name);
        for counters in [&self.moves, &self.failures, &self.concurrent, &self.approvals] {
            retain(counters, NAMESPACE, is_there);
        }
        retain(&self.durations, NAMESPACE, is_there);
        for of in namespaces {
            let name = of.namespace.as_str();
            self.state.with_label_values(&[name, of.state]).set(1);
            self.moving.with_label_values(&[name]).set(gauge_value(of.moving));
            self.unowned.with_label_values(&[name]).set(gauge_value(of.unowned));
            self.overloaded.with_label_values(&[name]).set(gauge_value(of.overloaded));
            self.waiting.with_label_values(&[name]).set(gauge_value(of.waiting.len()));
            let oldest = of.waiting.iter().max().copied().unwrap_or_default();
            self.waited.with_label_values(&[name]).set(oldest.as_secs_f64());
            // Where nobody may own anything nothing is uneven.
            self.imbalance.with_label_values(&[name]).set(of.imbalance.unwrap_or(1.0));
            // So that what has not happened is 0, and not missing.
            self.failures.with_label_values(&[name]);
            self.concurrent.with_label_values(&[name]);
        }
    }
}
