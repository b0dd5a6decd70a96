//! Metrics that a node keeps of the transport policy.

use omnirelay_decisions::transport_policy::AuditRule;
use omnirelay_node::metrics::registrar::{MetricRegistrar as _, gauge_value};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::transport_finding::Level;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{TransportFinding, TransportReport};
use prometheus::{IntGauge, IntGaugeVec};

/// Metrics of the transport policy: what is found of a node, and what there is of what is to go.
pub struct TransportPolicyMetrics {
    findings: IntGaugeVec,
    raw: IntGauge,
    raw_budget: IntGauge,
    legacy: IntGauge,
    legacy_budget: IntGauge,
}

impl TransportPolicyMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let findings = all.gauges(
            "mesh_transport_policy_findings",
            "What the transport policy finds of this node and of itself, by rule and level",
            &["rule", "level"],
        )?;
        // All are there from the beginning: what is 0 was looked for.
        for (rule, level) in rules() {
            findings.with_label_values(&[rule, level.as_str_name()]).set(0);
        }
        Ok(Self {
            findings,
            raw: all.gauge("mesh_transport_raw_endpoints", "Endpoints of this node that take raw")?,
            raw_budget: all.gauge(
                "mesh_transport_raw_endpoints_budget",
                "How many endpoints of a node may take raw, by the transport policy",
            )?,
            legacy: all.gauge(
                "mesh_transport_legacy_pairings",
                "Pairings of transport and encoding that this node offers and that are legacy",
            )?,
            legacy_budget: all.gauge(
                "mesh_transport_legacy_pairings_budget",
                "How many legacy pairings a node may offer, by the transport policy",
            )?,
        })
    }

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
