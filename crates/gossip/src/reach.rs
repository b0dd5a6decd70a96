//! Reach: which of the nodes that live this one reaches otherwise than it should, or not at all.

use std::time::Duration;

use omnirelay_node::transport::NodeTransport;
use omnirelay_peer_records::{is_alive, of_others};
use omnirelay_registry::Registry;
use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::timestamp::millis;
use pb::peer_health::State;

use crate::Gossip;
use crate::gossip_health::GossipHealth;

/// The most that are told.
const TOLD_MAX: usize = 100;
/// How long a node may live before gossip has heard of it.
const NEW: Duration = Duration::from_secs(10);

/// The other nodes that live and are not reached as they should be, in the order of their ids.
pub fn reach(registry: &Registry, transport: &NodeTransport, gossip: Option<&Gossip>) -> Vec<pb::PeerReach> {
    let (heard, now) = (GossipHealth::of(gossip, registry.view()), registry.view().now());
    let age = |peer: &PeerValue| {
        let since = peer.status_since.as_ref().map(millis).unwrap_or_default();
        Duration::from_millis(now.0.saturating_sub(since.0))
    };
    let others = of_others(registry, |peer| is_alive(peer).then(|| age(peer)));
    let gossips = gossip.is_some_and(Gossip::has_begun);
    let told = others.into_iter().filter_map(|(node_id, age)| {
        let gossip = match heard.state(&node_id) {
            State::Suspect | State::Dead | State::Left => "gone",
            State::Unknown | State::Unspecified if gossips && age > NEW => "unheard",
            State::Unknown | State::Unspecified | State::Alive => "",
        };
        let used = transport.used(&node_id);
        let unreached = match used {
            _ if heard.is_through_others(&node_id) => "others_answer",
            Some(used) if used.is_unreachable => "no_connection",
            Some(_) | None => "",
        };
        // Once may be a moment in which one of both hosts was busy.
        let over_http2 =
            used.filter(|used| used.protocol == Some(ConnectionProtocol::Http2) && used.is_lasting);
        let downgrade = over_http2.and_then(|used| used.why).map(Downgrade::word).unwrap_or_default();
        let [gossip, unreached, downgrade] = [gossip, unreached, downgrade].map(str::to_owned);
        let is_well = gossip.is_empty() && unreached.is_empty() && downgrade.is_empty();
        (!is_well).then_some(pb::PeerReach { node_id, gossip, unreached, downgrade })
    });
    told.take(TOLD_MAX).collect()
}
