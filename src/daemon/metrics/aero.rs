//! What a node counts of relays and the agents that they hold.

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
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            all.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        Ok(Self {
            relays: gauge("omnirelay_relays", "Relays that live")?,
            agents: gauge("omnirelay_agents", "Agents that live, held by relays that live")?,
            deferred: gauge(
                "omnirelay_heartbeats_deferred",
                "Relays and agents whose heartbeats wait for the store",
            )?,
        })
    }

    /// Notes how many live, and of how many a heartbeat waits.
    pub fn set(&self, relays: usize, agents: usize, deferred: usize) {
        let set = |gauge: &IntGauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.relays, relays);
        set(&self.agents, agents);
        set(&self.deferred, deferred);
    }
}
