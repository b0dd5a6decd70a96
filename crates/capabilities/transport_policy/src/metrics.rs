//! Metrics that a node keeps of the transport policy.

use omnirelay_decisions::transport_policy::AuditRule;
use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::{MetricLabel, enum_words};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::transport_finding::Level;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{TransportFinding, TransportReport};

const RULE: MetricLabel =
    MetricLabel::each("rule", || AuditRule::ALL.iter().map(|rule| rule.word()).collect());
const LEVEL: MetricLabel = MetricLabel::each("level", || enum_words(Level::as_str_name));

omnirelay_node::metrics! {
    /// Metrics of the transport policy: what is found of a node, and what there is of what is to go.
    pub struct TransportPolicyMetrics {
        findings: Gauges("mesh_transport_policy_findings",
            "What the transport policy finds of this node and of itself, by rule and level", &[RULE, LEVEL])
            .only(|values| rules().any(|(rule, level)| values == [rule, level.as_str_name()])),
        raw: Gauge("mesh_transport_raw_endpoints", "Endpoints of this node that take raw"),
        raw_budget: Gauge("mesh_transport_raw_endpoints_budget",
            "How many endpoints of a node may take raw, by the transport policy"),
        legacy: Gauge("mesh_transport_legacy_pairings",
            "Pairings of transport and encoding that this node offers and that are legacy"),
        legacy_budget: Gauge("mesh_transport_legacy_pairings_budget",
            "How many legacy pairings a node may offer, by the transport policy"),
    }
}

impl TransportPolicyMetrics {
    /// Takes over what is found now.
    pub fn read(&self, report: &TransportReport) {
        for (rule, kind) in rules() {
            let is_it = |found: &&TransportFinding| found.rule == rule && found.level() == kind;
            let count = report.findings.iter().filter(is_it).count();
            self.findings.with_label_values(&[rule, kind.as_str_name()]).set(gauge_value(count));
        }
        self.raw.set(gauge_value(report.raw_endpoints));
        self.raw_budget.set(gauge_value(report.raw_endpoints_max));
        self.legacy.set(gauge_value(report.legacy_pairings));
        self.legacy_budget.set(gauge_value(report.legacy_pairings_max));
    }
}

/// Every rule with each level that its findings can be of.
fn rules() -> impl Iterator<Item = (&'static str, Level)> {
    AuditRule::ALL.iter().flat_map(|rule| rule.levels().iter().map(move |level| (rule.word(), *level)))
}
