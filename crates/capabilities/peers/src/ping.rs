//! Pinging: how a node is reached from this one, by each carrier, and which of them calls use.

use std::time::Duration;

use omnirelay_gossip::gossip_health::GossipHealth;
use omnirelay_node::transport::measure::CarrierMeasurement;
use omnirelay_node::transport::{NodeTransport, UncallableNode};
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_peer_records::check_known;
use omnirelay_registry::Registry;
use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

use super::{linked, pb};

/// How many calls are made by each carrier unless it is said.
const COUNT: u32 = 3;
const COUNT_MAX: u32 = 100;

/// Pings a node.
pub(crate) async fn ping(
    registry: &Registry,
    transport: Option<&NodeTransport>,
    asked: pb::PingPeerRequest,
) -> Result<pb::PingPeerResponse, Fault> {
    let pb::PingPeerRequest { node_id, count } = asked;
    let count = match count {
        0 => COUNT,
        1..=COUNT_MAX => count,
        _ => return Err(Fault::invalid(format!("field `count` is {count}: 1 to {COUNT_MAX} are allowed"))),
    };
    check_known(registry, &node_id).await?;
    let transport = transport.ok_or_else(|| not_called(UncallableNode::Unknown(node_id.clone())))?;
    let peer = transport.peer(&node_id).map_err(not_called)?;
    let count = usize::try_from(count).unwrap_or(1);
    // What calls use is decided by a call.
    let (http3, http2, ()) = tokio::join!(
        transport.measure(&node_id, ConnectionProtocol::Http3, count),
        transport.measure(&node_id, ConnectionProtocol::Http2, count),
        transport.touch(&node_id),
    );
    let carriers = vec![
        shown(ConnectionProtocol::Http3, http3.map_err(not_called)?),
        shown(ConnectionProtocol::Http2, http2.map_err(not_called)?),
    ];
    let pb::Peer { rpc_transport, downgrade, .. } =
        linked(pb::Peer::default(), (Some(transport), &GossipHealth::default()), &node_id);
    Ok(pb::PingPeerResponse {
        schema_version: SCHEMA_VERSION.to_owned(),
        local_node_id: registry.node_id().to_owned(),
        node_id,
        address: peer.address(),
        rpc_transport,
        downgrade,
        carriers,
    })
}

fn not_called(why: UncallableNode) -> Fault {
    let message = why.to_string();
    match why {
        UncallableNode::Own(_) => Fault::invalid(message),
        UncallableNode::Unknown(_) => Fault::new(reasons::NO_MESH_PORT, message),
    }
}

fn shown(protocol: ConnectionProtocol, measured: CarrierMeasurement) -> pb::PingedCarrier {
    let CarrierMeasurement { connect, rtts, lost, error } = measured;
    let total: Duration = rtts.iter().sum();
    let average = (!rtts.is_empty()).then(|| total / u32::try_from(rtts.len()).unwrap_or(u32::MAX));
    pb::PingedCarrier {
        rpc_transport: protocol.word().to_owned(),
        connect_ms: connect.map(millis),
        rtt_min_ms: rtts.iter().min().copied().map(millis),
        rtt_avg_ms: average.map(millis),
        rtt_max_ms: rtts.iter().max().copied().map(millis),
        answered: u32::try_from(rtts.len()).unwrap_or(u32::MAX),
        lost: u32::try_from(lost).unwrap_or(u32::MAX),
        error: error.unwrap_or_default(),
    }
}

/// In milliseconds, as fine as a microsecond.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}
