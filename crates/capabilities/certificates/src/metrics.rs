//! Metrics that a node keeps of certificates.

use omnirelay_identity::handshake::HandshakeFailure;
use omnirelay_node::metrics::registrar::{MetricRegistrar as _, gauge_value};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

/// The ports that may speak TLS.
const PORTS: [&str; 3] = ["control", "relay", "mesh"];

/// Metrics of certificates: when they end, what is revoked, and who was not let in.
pub struct IdentityMetrics {
    expiry: IntGaugeVec,
    begins: IntGauge,
    behind: IntGauge,
    revocations: IntGauge,
    revocations_registry: IntGauge,
    refused: IntCounterVec,
}

impl IdentityMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let expiry = all.gauges(
            "mesh_certificate_expiry_seconds",
            "Seconds until a certificate ends: that of this node, of its issuer, of the root; below 0 when it has",
            &["kind"],
        )?;
        let begins = all.gauge(
            "mesh_certificate_begins_seconds",
            "Seconds until the certificate of this node begins, by the clock of its host; 0 once it has",
        )?;
        let behind = all.gauge(
            "mesh_certificate_rotation_behind",
            "1 while the certificate of this node should have been renewed long ago",
        )?;
        let revocations = all.gauge(
            "mesh_revocations_enforced_number",
            "The number of the list of revocations by which this node judges; 0 while nothing was revoked",
        )?;
        let revocations_registry = all.gauge(
            "mesh_revocations_number",
            "The number of the list of revocations in the registry, as this node has it",
        )?;
        let refused = all.counters(
            "mesh_tls_handshakes_refused_total",
            "TLS handshakes that came to nothing, by port and why; clients that went away are not counted",
            &["port", "reason"],
        )?;
        // All are there from the beginning: what rises from nothing is not seen to rise.
        for (port, cause) in
            PORTS.into_iter().flat_map(|port| HandshakeFailure::ALL.map(|cause| (port, cause)))
        {
            refused.with_label_values(&[port, cause.word()]).inc_by(0);
        }
        Ok(Self { expiry, begins, behind, revocations, revocations_registry, refused })
    }

    /// Takes over what is so now; what is not there has no series.
    pub fn read(&self, expiries: [(&str, Option<i64>); 3], begins: i64, behind: bool) {
        for (kind, seconds) in expiries {
            match seconds {
                Some(seconds) => self.expiry.with_label_values(&[kind]).set(seconds),
                // One that was never there cannot be removed.
                None => drop(self.expiry.remove_label_values(&[kind])),
            }
        }
        self.begins.set(begins);
        self.behind.set(i64::from(behind));
    }

    /// Takes over by which list of revocations this node judges, and which one the registry has.
    pub fn read_revocations(&self, enforced: u64, registry: u64) {
        self.revocations.set(gauge_value(enforced));
        self.revocations_registry.set(gauge_value(registry));
    }

    /// Counts a handshake that came to nothing. Both are words of a few.
    pub fn count_refused(&self, port: &str, reason: &str) {
        self.refused.with_label_values(&[port, reason]).inc();
    }
}
