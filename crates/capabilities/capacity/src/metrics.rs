//! Metrics of limits.

use omnirelay_decisions::capacity::LimitKind;
use omnirelay_node::metrics::registrar::{gauge_value, raise_to};
use omnirelay_node::metrics::row::MetricLabel;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::CapacityLimit;

const LIMIT: MetricLabel = MetricLabel::each("limit", || LimitKind::ALL.map(|kind| kind.row().name).to_vec());

omnirelay_node::metrics! {
    /// Metrics of limits: how much there may be, how much is used, and what was refused.
    pub(crate) struct CapacityMetrics {
        used: Gauges("mesh_limit_used",
            "How much is used of what there may be a limit of; of a rate a second the highest of the last 90 seconds",
            &[LIMIT]),
        max: Gauges("mesh_limit_max", "The greatest use that is set; 0 where there is no limit", &[LIMIT]),
        refused: Counters("mesh_limit_refused_total", "What was refused because of a limit", &[LIMIT]),
    }
}

impl CapacityMetrics {
    /// Takes over how it is now.
    pub(crate) fn read(&self, limits: &[CapacityLimit]) {
        for limit in limits {
            let name = limit.name.as_str();
            self.used.with_label_values(&[name]).set(gauge_value(limit.judged));
            self.max.with_label_values(&[name]).set(gauge_value(limit.max.unwrap_or_default()));
            raise_to(&self.refused.with_label_values(&[name]), limit.refused);
        }
    }
}
