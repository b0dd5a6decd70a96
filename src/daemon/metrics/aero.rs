//! What a node counts of relays and the agents that they hold.

use prometheus::IntGauge;

use crate::daemon::objects::{agents, relays};
use crate::daemon::registry::Registry;

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

    pub(super) fn read(&self, registry: &Registry) {
        let set = |gauge: &IntGauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.relays, relays::count(registry.view()));
        set(&self.agents, agents::count(registry.view()));
        set(&self.deferred, registry.refreshes_deferred());
    }
}
