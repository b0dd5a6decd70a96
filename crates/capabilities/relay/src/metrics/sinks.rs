//! Metrics that a relay keeps of where telemetry goes.

use std::time::Duration;

use omnirelay_node::metrics::row::MetricLabel;
use prometheus::{Histogram, IntCounter, IntGauge};

use crate::sinks::{SINKS, type_name};

/// Of those that are configured.
const SINK: MetricLabel = MetricLabel::among("sink", || SINKS.to_vec());
const SINK_TYPE: MetricLabel = MetricLabel::among("sink", || SINKS.map(type_name).to_vec());

omnirelay_node::metrics! {
    /// Metrics of all sinks.
    pub struct SinkMetrics while "the node serves the relay" {
        enqueued: Counters("aero_sink_enqueued_total",
            "Frames that found room in the queue of a sink", &[SINK]),
        dropped: Counters("aero_sink_dropped_total",
            "Frames that a sink did not take, those included that were not acknowledged and come again", &[SINK]),
        lost: Counters("omnirelay_sink_lost_frames_total",
            "Frames that a sink will never have: its server would not take them, or nobody sends them again", &[SINK]),
        worker_errors: Counters("aero_sink_worker_errors_total", "Writes of a sink that failed", &[SINK]),
        queue_length: Gauges("aero_sink_queue_length",
            "Frames in the queue of a sink, those being written included", &[SINK]),
        relay_errors: Counters("aero_relay_sink_errors_total",
            "Frames that a stream could not hand over to a sink", &[SINK_TYPE]),
        bytes: Counters("omnirelay_sink_written_bytes_total",
            "Bytes of frames that a sink has written", &[SINK]),
        write_seconds: Histograms("omnirelay_sink_write_seconds",
            "How long writes took that succeeded", &[SINK], &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0]),
    }
}

/// Counts of one sink. Cheap to clone.
#[derive(Clone)]
pub struct SinkCounts {
    /// Frames that found room in its queue.
    pub enqueued: IntCounter,
    /// Frames that it did not take: there was no room, or they were refused.
    pub dropped: IntCounter,
    /// Those of them that do not come again, and those that were left in its queue at its end.
    pub lost: IntCounter,
    /// Writes that failed.
    pub worker_errors: IntCounter,
    /// Frames that are in its queue, those that are being written among them.
    pub queue_length: IntGauge,
    /// Frames that a stream could not hand over to it.
    pub relay_errors: IntCounter,
    bytes: IntCounter,
    write_seconds: Histogram,
}

impl SinkMetrics {
    /// Counts of `sink`, which streams know by the name of its `type_name`.
    pub fn of(&self, sink: &str, type_name: &str) -> SinkCounts {
        SinkCounts {
            enqueued: self.enqueued.with_label_values(&[sink]),
            dropped: self.dropped.with_label_values(&[sink]),
            lost: self.lost.with_label_values(&[sink]),
            worker_errors: self.worker_errors.with_label_values(&[sink]),
            queue_length: self.queue_length.with_label_values(&[sink]),
            relay_errors: self.relay_errors.with_label_values(&[type_name]),
            bytes: self.bytes.with_label_values(&[sink]),
            write_seconds: self.write_seconds.with_label_values(&[sink]),
        }
    }
}

impl SinkCounts {
    /// Counts a write that succeeded.
    pub fn wrote(&self, bytes: usize, took: Duration) {
        self.bytes.inc_by(bytes as u64);
        self.write_seconds.observe(took.as_secs_f64());
    }
}
