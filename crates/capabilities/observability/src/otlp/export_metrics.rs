//! Metrics of the export by OTLP itself.

use omnirelay_node::metrics::row::MetricLabel;

/// Sort of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExportedKind {
    /// Points of metrics.
    Metrics,
    Spans,
}

/// Reason why something was not sent, or not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropCause {
    /// More spans ended than were sent.
    QueueFull,
    /// The collector did not take the request.
    Refused,
    /// It took the request, but not all that was in it.
    Rejected,
    /// It did not answer, or asked to come back later, until this was given up.
    Unanswered,
}

impl ExportedKind {
    const ALL: [Self; 2] = [Self::Metrics, Self::Spans];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Spans => "spans",
        }
    }
}

impl DropCause {
    const ALL: [Self; 4] = [Self::QueueFull, Self::Refused, Self::Rejected, Self::Unanswered];

    const fn word(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Unanswered => "unanswered",
        }
    }
}

const KIND: MetricLabel = MetricLabel::each("kind", || ExportedKind::ALL.map(ExportedKind::word).to_vec());
const CAUSE: MetricLabel = MetricLabel::each("mesh_cause", || DropCause::ALL.map(DropCause::word).to_vec());

omnirelay_node::metrics! {
    /// Metrics of the export by OTLP.
    pub(crate) struct ExportMetrics {
        sent: Counters("omnirelay_otlp_sent_total", "Spans, and points of metrics, that the collector has taken", &[KIND]),
        dropped: Counters("omnirelay_otlp_dropped_total",
            "Spans, and points of metrics, that the collector has not got, by why; the next points say what those before did",
            &[KIND, CAUSE]).only(|values| values != ["metrics", "queue_full"]),
    }
}

impl ExportMetrics {
    pub(crate) fn count_sent(&self, kind: ExportedKind, count: u64) {
        self.sent.with_label_values(&[kind.word()]).inc_by(count);
    }

    pub(crate) fn count_dropped(&self, kind: ExportedKind, cause: DropCause, count: u64) {
        self.dropped.with_label_values(&[kind.word(), cause.word()]).inc_by(count);
    }
}
