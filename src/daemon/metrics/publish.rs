//! What a node counts of the keys that it publishes for outsiders.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

/// What is counted of published keys.
pub struct PublishMetrics {
    keys: IntGauge,
    waiting: IntGauge,
    up: IntGauge,
    operations: IntCounterVec,
    failures: IntCounter,
    dropped: IntCounter,
}

impl PublishMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            all.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            all.register(Box::new(counter.clone())).map(|()| counter)
        };
        let operations = IntCounterVec::new(
            Opts::new(
                "omnirelay_publish_operations_total",
                "What was done to published keys, by how it ended; `others`: another's value stood there",
            ),
            &["operation", "result"],
        )?;
        all.register(Box::new(operations.clone()))?;
        Ok(Self {
            keys: gauge("omnirelay_published_keys", "Keys that this node has published and that stand")?,
            waiting: gauge(
                "omnirelay_publish_waiting",
                "Keys that wait for the Redis they are published in",
            )?,
            up: gauge("omnirelay_publish_up", "1 while the Redis that keys are published in answers")?,
            operations,
            failures: counter(
                "omnirelay_publish_failures_total",
                "How often that Redis could not be reached or did not answer in time",
            )?,
            dropped: counter(
                "omnirelay_publish_dropped_total",
                "Keys that were not published because there were too many",
            )?,
        })
    }

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
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.keys.set(gauge(keys));
        self.waiting.set(gauge(waiting));
        self.up.set(i64::from(is_up));
    }

    /// How often the Redis has failed.
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// How many keys there was no room for.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}
