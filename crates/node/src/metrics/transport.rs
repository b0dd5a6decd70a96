//! Metrics of the mesh transport.

use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_transport::negotiate::Downgrade;
use prometheus::IntCounterVec;

use super::registrar::MetricRegistrar as _;

/// Metrics of the calls of this node to others.
pub struct TransportMetrics {
    calls: IntCounterVec,
    connections: IntCounterVec,
    downgrades: IntCounterVec,
}

impl TransportMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let calls = all.counters(
            "mesh_transport_calls_total",
            "Calls of this node to others that were answered, by version of HTTP, and why it is not HTTP/3",
            &["rpc_transport", "reason"],
        )?;
        let connections = all.counters(
            "mesh_transport_connections_total",
            "Connections that this node has opened to others, by version of HTTP",
            &["rpc_transport"],
        )?;
        let downgrades = all.counters(
            "mesh_transport_downgrades_total",
            "How often this node went over to HTTP/2 with another, by why it is not HTTP/3",
            &["reason"],
        )?;
        // All are there from the beginning: what rises from nothing is not seen to rise.
        calls.with_label_values(&[ConnectionProtocol::Http3.word(), ""]).inc_by(0);
        for protocol in [ConnectionProtocol::Http3, ConnectionProtocol::Http2] {
            connections.with_label_values(&[protocol.word()]).inc_by(0);
        }
        for why in Downgrade::ALL {
            calls.with_label_values(&[ConnectionProtocol::Http2.word(), why.word()]).inc_by(0);
        }
        // The others are nothing that happens to a connection.
        for why in [Downgrade::NoAnswer, Downgrade::Refused, Downgrade::Lost] {
            downgrades.with_label_values(&[why.word()]).inc_by(0);
        }
        Ok(Self { calls, connections, downgrades })
    }

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
