//! Metrics of the reports to the registry: what it is told of a relay and its agents, and whether it hears.

use std::time::Duration;

use omnirelay_node::metrics::registrar::gauge_value;

omnirelay_node::metrics! {
    /// Metrics of the reports to the registry.
    pub struct ReportsMetrics while "the node serves the relay" {
        registered: Gauge("aero_relay_registered",
            "1 while the registry knows the relay, as far as it has said").flag(),
        failing_seconds: FloatGauge("aero_relay_registry_failing_seconds",
            "Since when the registry cannot be told of the relay or of an agent; 0 while it can"),
        held: Gauge("aero_relay_agents_held", "Agents that have a stream here"),
        known: Gauge("aero_relay_agents_known",
            "Agents that have a stream here and that the registry has here, as far as it has said"),
    }
}

impl ReportsMetrics {
    /// Notes how it stands; `failing_for` is `None` while the registry can be told.
    pub fn set(&self, is_registered: bool, failing_for: Option<Duration>, held: usize, known: usize) {
        self.registered.set(i64::from(is_registered));
        self.failing_seconds.set(failing_for.unwrap_or_default().as_secs_f64());
        self.held.set(gauge_value(held));
        self.known.set(gauge_value(known));
    }
}
