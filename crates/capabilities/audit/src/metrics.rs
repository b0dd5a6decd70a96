//! Metrics that a node keeps of its audit trail.

use omnirelay_node::metrics::registrar::{gauge_value, raise_to};
use omnirelay_registry::Registry;

omnirelay_node::metrics! {
    /// Metrics of the audit trail.
    pub struct AuditMetrics {
        unsealed: Gauge("mesh_audit_unsealed_records",
            "Audit records that this daemon has made and not sealed yet; at most 8192 are counted"),
        faults: Counter("mesh_audit_faults_total",
            "What this daemon has noticed of the audit trail that should not be; its log says what"),
    }
}

impl AuditMetrics {
    /// Brings what is read off the registry up to date.
    pub fn read(&self, registry: &Registry) {
        self.unsealed.set(gauge_value(registry.awaiting_seal().count()));
        raise_to(&self.faults, registry.audit_faults().noticed());
    }
}
