//! Metrics of comparisons.

use std::time::Duration;

use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::MetricLabel;

use crate::compared::ComparedRecords;

/// Side that it was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComparedWith {
    Store,
    Node,
}

impl ComparedWith {
    const fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Node => "node",
        }
    }
}

const WITH: MetricLabel = MetricLabel::each("with", || vec!["store", "node"]);
const RESULT: MetricLabel = MetricLabel::each("result", || vec!["done", "failed"]);

omnirelay_node::metrics! {
    /// Metrics of comparisons of what this daemon holds.
    pub(crate) struct StateDiffMetrics {
        differing: Gauges("mesh_state_differing_records",
            "How many records differed from the store, or from another daemon, when they were compared last", &[WITH]),
        seconds: FloatGauges("mesh_state_compare_seconds",
            "How long the last comparison took, whatever came of it", &[WITH]),
        compared: Counters("mesh_state_comparisons_total",
            "How often this daemon has compared what it holds, by whether it came to its end", &[WITH, RESULT]),
    }
}

impl StateDiffMetrics {
    /// Notes a comparison: what it has found, also where it did not come to its end.
    pub(crate) fn note(&self, with: ComparedWith, found: &ComparedRecords, is_done: bool, took: Duration) {
        let with = with.word();
        if is_done || found.differing > 0 {
            self.differing.with_label_values(&[with]).set(gauge_value(found.differing));
        }
        self.seconds.with_label_values(&[with]).set(took.as_secs_f64());
        let result = if is_done { "done" } else { "failed" };
        self.compared.with_label_values(&[with, result]).inc();
    }

    /// Notes that there is no other daemon from which anything could differ.
    pub(crate) fn note_nobody(&self) {
        self.differing.with_label_values(&[ComparedWith::Node.word()]).set(0);
    }
}
