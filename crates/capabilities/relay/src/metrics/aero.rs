//! What a node counts of relays and the agents that they hold.

use omnirelay_node::metrics::registrar::{Registrar as _, level};
use prometheus::IntGauge;

/// What is counted of relays and agents.
pub struct AeroMetrics {
    relays: IntGauge,
    agents: IntGauge,
    deferred: IntGauge,
}

impl AeroMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            relays: all.gauge("omnirelay_relays", "Relays that live")?,
            agents: all.gauge("omnirelay_agents", "Agents that live, held by relays that live")?,
            deferred: all.gauge(
                "omnirelay_heartbeats_deferred",
                "Relays and agents whose heartbeats wait for the store",
            )?,
        })
    }

    /// Notes how many live, and of how many a heartbeat waits.
    pub fn set(&self, relays: usize, agents: usize, deferred: usize) {
        self.relays.set(level(relays));
        self.agents.set(level(agents));
        self.deferred.set(level(deferred));
    }
}
