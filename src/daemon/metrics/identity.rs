//! What a node tells of certificates.

use prometheus::{IntGauge, IntGaugeVec};

use super::registrar::Registrar as _;

/// When certificates end.
pub struct IdentityMetrics {
    expiry: IntGaugeVec,
    behind: IntGauge,
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
        let behind = all.gauge(
            "mesh_certificate_rotation_behind",
            "1 while the certificate of this node should have been renewed long ago",
        )?;
        Ok(Self { expiry, behind })
    }

    /// Takes over what is so now; what is not there has no series.
    pub fn read(&self, expiries: [(&str, Option<i64>); 3], behind: bool) {
        for (kind, seconds) in expiries {
            match seconds {
                Some(seconds) => self.expiry.with_label_values(&[kind]).set(seconds),
                // One that was never there cannot be removed.
                None => drop(self.expiry.remove_label_values(&[kind])),
            }
        }
        self.behind.set(i64::from(behind));
    }
}
