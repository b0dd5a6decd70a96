//! Metrics that a node keeps of shards. What becomes of them is counted by the daemon that did it.

use std::collections::BTreeSet;
use std::time::Duration;

use omnirelay_core::rebalance::MoveCause;
use omnirelay_decisions::shards::control::FURTHER_CAUSES;
use omnirelay_node::metrics::registrar::{Counters, gauge_value};
use omnirelay_node::metrics::row::{MetricLabel, enum_words};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{namespace, rebalance_plan};

use crate::namespaces::NAMESPACES_MAX;
use crate::plans::PlanVerb;

/// The label of those that are of a namespace.
const NAMESPACE: MetricLabel = MetricLabel::at_most("mesh_namespace", NAMESPACES_MAX, "namespaces");
const STATE: MetricLabel = MetricLabel::among("mesh_state", || enum_words(namespace::State::as_str_name));
const PLAN_STATE: MetricLabel =
    MetricLabel::among("mesh_state", || enum_words(rebalance_plan::State::as_str_name));
const CAUSE: MetricLabel =
    MetricLabel::among("mesh_cause", || [&MoveCause::ALL.map(MoveCause::word)[..], &FURTHER_CAUSES].concat());
const DECISION: MetricLabel =
    MetricLabel::among("mesh_decision", || PlanVerb::ALL.map(PlanVerb::word).to_vec());
const OUTCOME: MetricLabel =
    MetricLabel::each("mesh_outcome", || vec!["delivered", "refused", "given_up", "lost"]);

omnirelay_node::metrics! {
    /// Metrics of shards.
    pub struct ShardMetrics {
        state: Gauges("mesh_rebalance_state",
            "What is being done with the shards of a namespace: 1 for its state", &[NAMESPACE, STATE]).flag()
            .at_most(NAMESPACES_MAX),
        moving: Gauges("mesh_rebalance_shards_moving",
            "Shards that are between two owners", &[NAMESPACE]),
        unowned: Gauges("mesh_shards_unowned", "Shards that nobody owns", &[NAMESPACE]),
        imbalance: FloatGauges("mesh_shards_imbalance",
            "The most shards that a node has beside its share by weight, which is rounded up", &[NAMESPACE]).ratio(),
        overloaded: Gauges("mesh_shards_nodes_overloaded",
            "Nodes that have had too much to do for as long as the policy says", &[NAMESPACE]),
        concurrent: Counters("mesh_shards_concurrent_owners_total",
            "Shards that a worker of this node served although another node owned them by then", &[NAMESPACE]),
        waiting: Gauges("mesh_rebalance_plans_waiting",
            "Plans that wait for somebody to approve or to apply them", &[NAMESPACE]),
        waited: FloatGauges("mesh_rebalance_plan_wait_seconds",
            "How long the oldest of them has waited", &[NAMESPACE]),
        moves: Counters("mesh_rebalance_moves_total",
            "Shards that this daemon gave another owner", &[NAMESPACE, CAUSE]),
        failures: Counters("mesh_rebalance_failed_steps_total",
            "Steps with shards that the store did not make; they are tried again", &[NAMESPACE]),
        approvals: Counters("mesh_rebalance_plan_approvals_total",
            "What was said to plans through this daemon", &[NAMESPACE, DECISION]),
        durations: Histograms("mesh_rebalance_duration_seconds",
            "From the beginning of a plan to its end, of those that this daemon ended", &[NAMESPACE, PLAN_STATE],
            &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0]),
        told: Counters("mesh_shards_webhook_deliveries_total",
            "What this daemon has told the webhook, or has not", &[OUTCOME]),
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
        let of = |counters: &Counters| counters.with_label_values(&[namespace]).get();
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
        let names: BTreeSet<&str> = namespaces.iter().map(|of| of.namespace.as_str()).collect();
        let is_there = |name: &str| !are_all || names.contains(name);
        for counters in [&self.moves, &self.failures, &self.concurrent, &self.approvals] {
            counters.retain(NAMESPACE.name, is_there);
        }
        self.durations.retain(NAMESPACE.name, is_there);
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
