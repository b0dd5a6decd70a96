//! What a node counts of its audit trail.

use omnirelay_node::metrics::registrar::{Registrar as _, level};
use omnirelay_registry::Registry;
use prometheus::{IntCounter, IntGauge};

/// What is counted of the audit trail.
pub struct AuditMetrics {
    unsealed: IntGauge,
    faults: IntCounter,
}

impl AuditMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let unsealed = all.gauge(
            "mesh_audit_unsealed_records",
            "Audit records that this daemon has made and not sealed yet; at most 8192 are counted",
        )?;
        let faults = all.counter(
            "mesh_audit_faults_total",
            "What this daemon has noticed of the audit trail that should not be; its log says what",
        )?;
        Ok(Self { unsealed, faults })
    }

    /// Brings what is read off the registry up to date.
    pub fn read(&self, registry: &Registry) {
        self.unsealed.set(level(registry.awaiting_seal().count()));
        self.faults.inc_by(registry.audit_faults().noticed().saturating_sub(self.faults.get()));
    }
}
