//! Metrics that a node keeps of relays and the agents that they hold.

use omnirelay_node::metrics::registrar::gauge_value;

omnirelay_node::metrics! {
    /// Metrics of relays and agents.
    pub struct AeroMetrics {
        relays: Gauge("omnirelay_relays", "Relays that live"),
        agents: Gauge("omnirelay_agents", "Agents that live, held by relays that live"),
        deferred: Gauge("omnirelay_heartbeats_deferred",
            "Relays and agents whose heartbeats wait for the store"),
    }
}

impl AeroMetrics {
    /// Notes how many live, and of how many a heartbeat waits.
    pub fn set(&self, relays: usize, agents: usize, deferred: usize) {
        self.relays.set(gauge_value(relays));
        self.agents.set(gauge_value(agents));
        self.deferred.set(gauge_value(deferred));
    }
}
