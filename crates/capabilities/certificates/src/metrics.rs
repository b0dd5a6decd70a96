//! Metrics that a node keeps of certificates.

use omnirelay_cluster_records::CLUSTERS_MAX;
use omnirelay_identity::handshake::HandshakeFailure;
use omnirelay_node::PortName;
use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::MetricLabel;

/// What is not there has no series: 0 would be a certificate that ends now.
const KIND: MetricLabel = MetricLabel::among("kind", || vec!["node", "issuer", "root"]);
const CLUSTER: MetricLabel = MetricLabel::at_most("cluster", CLUSTERS_MAX, "clusters that are asked");
const PORT: MetricLabel = MetricLabel::each("port", || PortName::ALL.map(PortName::word).to_vec());
const REASON: MetricLabel =
    MetricLabel::each("reason", || HandshakeFailure::ALL.map(HandshakeFailure::word).to_vec());

/// Whether a port refuses for this reason: only where nodes call each other is whoever is no node refused for that.
fn can_refuse(values: &[&str]) -> bool {
    let [port, reason] = values else { return false };
    let of_nodes = [HandshakeFailure::NotANode, HandshakeFailure::NotPinned].map(HandshakeFailure::word);
    *port == PortName::Mesh.word() || !of_nodes.contains(reason)
}

omnirelay_node::metrics! {
    /// Metrics of certificates: when they end, what is revoked, and who was not let in.
    pub struct IdentityMetrics {
        expiry: Gauges("mesh_certificate_expiry_seconds",
            "Seconds until a certificate ends: that of this node, of its issuer, of the root; below 0 when it has", &[KIND]),
        begins: Gauge("mesh_certificate_begins_seconds",
            "Seconds until the certificate of this node begins, by the clock of its host; 0 once it has"),
        behind: Gauge("mesh_certificate_rotation_behind",
            "1 while the certificate of this node should have been renewed long ago").flag(),
        revocations: Gauge("mesh_revocations_enforced_number",
            "The number of the list of revocations by which this node judges; 0 while nothing was revoked"),
        revocations_registry: Gauge("mesh_revocations_number",
            "The number of the list of revocations in the registry, as this node has it"),
        refused: Counters("mesh_tls_handshakes_refused_total",
            "TLS handshakes that came to nothing, by port and why; clients that went away are not counted", &[PORT, REASON])
            .only(can_refuse),
        cluster_silence: Gauges("mesh_cluster_trust_silence_seconds",
            "Seconds for which another cluster of the trust domain, which this daemon asks, has not said how it vouches", &[CLUSTER]),
    }
}

impl IdentityMetrics {
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

    /// Takes over for how many seconds each cluster that is asked was not heard.
    pub fn read_silences(&self, silences: &[(String, u64)]) {
        self.cluster_silence
            .retain(CLUSTER.name, |cluster| silences.iter().any(|(known, _)| known == cluster));
        for (cluster, seconds) in silences {
            self.cluster_silence.with_label_values(&[cluster]).set(gauge_value(*seconds));
        }
    }

    /// Counts a handshake that came to nothing. Both are words of a few.
    pub fn count_refused(&self, port: &str, reason: &str) {
        self.refused.with_label_values(&[port, reason]).inc();
    }
}
