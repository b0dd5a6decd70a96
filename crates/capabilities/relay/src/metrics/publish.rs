//! Metrics that a node keeps of the keys that it publishes for outsiders.

use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::MetricLabel;

const OPERATION: MetricLabel = MetricLabel::each("operation", || vec!["put", "refresh", "remove"]);
const RESULT: MetricLabel = MetricLabel::each("result", || vec!["done", "others", "refused"]);

omnirelay_node::metrics! {
    /// Metrics of published keys.
    pub struct PublishMetrics while "the node serves the relay" {
        keys: Gauge("omnirelay_published_keys", "Keys that this node has published and that stand"),
        waiting: Gauge("omnirelay_publish_waiting", "Keys that wait for the Redis they are published in"),
        up: Gauge("omnirelay_publish_up", "1 while the Redis that keys are published in answers").flag(),
        operations: Counters("omnirelay_publish_operations_total",
            "What was done to published keys, by how it ended; `others`: another's value stood there", &[OPERATION, RESULT]),
        failures: Counter("omnirelay_publish_failures_total",
            "How often that Redis could not be reached or did not answer in time"),
        dropped: Counter("omnirelay_publish_dropped_total",
            "Keys that were not published because there were too many"),
    }
}

impl PublishMetrics {
    /// Counts what was done to a key: `put`, `refresh` or `remove`, and how it ended: `done`, `others` or `refused`.
    pub fn count_operation(&self, operation: &str, result: &str) {
        self.operations.with_label_values(&[operation, result]).inc();
    }

    /// Counts an attempt that failed as a whole.
    pub fn count_failure(&self) {
        self.failures.inc();
    }

    /// Counts a key that there was no room for.
    pub fn count_dropped(&self) {
        self.dropped.inc();
    }

    /// Notes how many keys stand and wait, and whether the Redis answers.
    pub fn set(&self, keys: usize, waiting: usize, is_up: bool) {
        self.keys.set(gauge_value(keys));
        self.waiting.set(gauge_value(waiting));
        self.up.set(i64::from(is_up));
    }

    /// Number of failures of the Redis.
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// Number of keys that there was no room for.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}
