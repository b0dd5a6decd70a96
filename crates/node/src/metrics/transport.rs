//! Metrics of the mesh transport.

use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_transport::negotiate::Downgrade;

use super::row::MetricLabel;

const TRANSPORT: MetricLabel =
    MetricLabel::each("rpc_transport", || ConnectionProtocol::ALL.map(ConnectionProtocol::word).to_vec());
/// Empty for HTTP/3, and where what kept it from HTTP/3 is over by then.
const REASON: MetricLabel =
    MetricLabel::each("reason", || [&[""], &Downgrade::ALL.map(Downgrade::word)[..]].concat());
/// The others are nothing that happens to a connection.
const DOWNGRADE: MetricLabel = MetricLabel::each("reason", || {
    [Downgrade::NoAnswer, Downgrade::Refused, Downgrade::Lost].map(Downgrade::word).to_vec()
});

crate::metrics! {
    /// Metrics of the calls of this node to others.
    pub struct TransportMetrics {
        calls: Counters("mesh_transport_calls_total",
            "Calls of this node to others that were answered, by version of HTTP, and why it is not HTTP/3",
            &[TRANSPORT, REASON]).only(|values| values[0] == "http2" || values[1].is_empty()),
        connections: Counters("mesh_transport_connections_total",
            "Connections that this node has opened to others, by version of HTTP", &[TRANSPORT]),
        downgrades: Counters("mesh_transport_downgrades_total",
            "How often this node went over to HTTP/2 with another, by why it is not HTTP/3", &[DOWNGRADE]),
    }
}

impl TransportMetrics {
    pub fn count_call(&self, protocol: ConnectionProtocol, why: Option<Downgrade>) {
        self.calls.with_label_values(&[protocol.word(), why.map(Downgrade::word).unwrap_or_default()]).inc();
    }

    pub fn count_connection(&self, protocol: ConnectionProtocol) {
        self.connections.with_label_values(&[protocol.word()]).inc();
    }

    pub fn count_downgrade(&self, why: Downgrade) {
        self.downgrades.with_label_values(&[why.word()]).inc();
    }
}
