//! Round trips between nodes: what each has measured, put together as rows.

use std::collections::BTreeMap;

use omnirelay_decisions::check::facts::is_alive;
use omnirelay_nouns::{envelope, head_cursor};
use omnirelay_registry::Registry;
use omnirelay_wire::envelope::EnvelopedAnswer as _;

use super::asking::MeshAsker;
use super::{CheckedMesh, pb};

/// How many nodes are told each to each; where more live, zones stand for them. As many zones are told at most.
const EACH_MAX: usize = 50;
/// How zones are called that nobody has named.
const NO_ZONE: &str = "(no zone)";

/// Round trips that this node has measured.
pub(crate) async fn own(registry: &Registry, mesh: &dyn CheckedMesh) -> pb::RoundTripsResponse {
    let peers = mesh.peers().await;
    let row = own_row(registry.node_id(), &peers);
    answer(registry, false, vec![row])
}

/// Round trips of all nodes that live, or of their zones.
pub(crate) async fn all(
    registry: &Registry,
    mesh: &dyn CheckedMesh,
    asker: &MeshAsker,
) -> pb::RoundTripsResponse {
    let peers = mesh.peers().await;
    let alive: Vec<&pb::Peer> = peers.iter().filter(|peer| is_alive(peer)).collect();
    let by_zone = alive.len() > EACH_MAX;
    let asked = if by_zone { one_of_each_zone(registry.node_id(), &alive) } else { alive };
    let (own, others): (Vec<&pb::Peer>, Vec<&pb::Peer>) =
        asked.into_iter().partition(|peer| peer.node_id == registry.node_id());
    let mut rows: Vec<pb::RoundTripRow> = own.iter().map(|peer| own_row(&peer.node_id, &peers)).collect();
    rows.extend(asked_rows(asker, &others, &peers).await);
    if by_zone {
        let zones = zones(&peers);
        rows.iter_mut().for_each(|row| fold(row, &zones));
    }
    rows.sort_by(|one, other| one.from.cmp(&other.from));
    answer(registry, by_zone, rows)
}

/// Round trips that another node has measured, or why it could not be asked.
pub(crate) async fn of(
    registry: &Registry,
    mesh: &dyn CheckedMesh,
    asker: &MeshAsker,
    peer: &pb::Peer,
) -> pb::RoundTripsResponse {
    let peers = mesh.peers().await;
    answer(registry, false, asked_rows(asker, &[peer], &peers).await)
}

async fn asked_rows(asker: &MeshAsker, others: &[&pb::Peer], peers: &[pb::Peer]) -> Vec<pb::RoundTripRow> {
    let mut rows = Vec::with_capacity(others.len());
    for (node, said) in asker.ask_round_trips(others).await {
        rows.push(match said {
            Ok(said) => bounded(node, said, peers),
            Err(why) => pb::RoundTripRow {
                from: node.clone(),
                node_id: node,
                trouble: why.to_string(),
                ..Default::default()
            },
        });
    }
    rows
}

fn answer(registry: &Registry, by_zone: bool, rows: Vec<pb::RoundTripRow>) -> pb::RoundTripsResponse {
    let cursor = head_cursor(registry.view());
    pb::RoundTripsResponse { cursor, by_zone, rows, ..Default::default() }.within(envelope(registry))
}

fn own_row(own: &str, peers: &[pb::Peer]) -> pb::RoundTripRow {
    let measured = peers.iter().filter(|peer| peer.node_id != own && is_alive(peer));
    let round_trips =
        measured.filter_map(|peer| Some(pb::RoundTrip { to: peer.node_id.clone(), rtt_ms: peer.rtt_ms? }));
    pb::RoundTripRow {
        from: own.to_owned(),
        node_id: own.to_owned(),
        round_trips: round_trips.collect(),
        ..Default::default()
    }
}

/// What a node says of itself: of peers of this registry alone, each once.
fn bounded(node: String, said: pb::RoundTripsResponse, peers: &[pb::Peer]) -> pb::RoundTripRow {
    let own = said.rows.into_iter().next().unwrap_or_default();
    let sound = own.round_trips.into_iter().filter(|trip| trip.rtt_ms.is_finite() && trip.rtt_ms >= 0.0);
    let measured: BTreeMap<String, f64> = sound.map(|trip| (trip.to, trip.rtt_ms)).collect();
    let of = |peer: &pb::Peer| {
        Some(pb::RoundTrip { to: peer.node_id.clone(), rtt_ms: *measured.get(&peer.node_id)? })
    };
    let round_trips = peers.iter().filter(|peer| peer.node_id != node).filter_map(of).collect();
    pb::RoundTripRow { from: node.clone(), node_id: node, round_trips, ..Default::default() }
}

fn zone_of(peer: &pb::Peer) -> &str {
    let zone = peer.metadata.as_ref().map(|said| said.zone.as_str()).unwrap_or_default();
    if zone.is_empty() { NO_ZONE } else { zone }
}

/// The zone of each node.
fn zones(peers: &[pb::Peer]) -> BTreeMap<&str, &str> {
    peers.iter().map(|peer| (peer.node_id.as_str(), zone_of(peer))).collect()
}

/// A node of each zone: this one of its own, of another the first.
fn one_of_each_zone<'p>(own: &str, alive: &[&'p pb::Peer]) -> Vec<&'p pb::Peer> {
    let mut chosen: BTreeMap<&str, &pb::Peer> = BTreeMap::new();
    for peer in alive {
        let known = chosen.entry(zone_of(peer)).or_insert(peer);
        if peer.node_id == own {
            *known = peer;
        }
    }
    chosen.into_values().take(EACH_MAX).collect()
}

/// Puts zones in the place of nodes, each with the middle one of its round trips.
fn fold(row: &mut pb::RoundTripRow, zones: &BTreeMap<&str, &str>) {
    let mut of_zones: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for trip in &row.round_trips {
        if let Some(zone) = zones.get(trip.to.as_str()) {
            of_zones.entry(zone).or_default().push(trip.rtt_ms);
        }
    }
    let middle = |(zone, mut all): (&str, Vec<f64>)| {
        all.sort_by(f64::total_cmp);
        Some(pb::RoundTrip { to: zone.to_owned(), rtt_ms: *all.get(all.len() / 2)? })
    };
    row.round_trips = of_zones.into_iter().filter_map(middle).collect();
    row.from = zones.get(row.node_id.as_str()).map_or_else(|| NO_ZONE.to_owned(), |zone| (*zone).to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(node_id: &str, zone: &str, rtt_ms: Option<f64>) -> pb::Peer {
        let metadata = pb::PeerMetadata { zone: zone.to_owned(), ..Default::default() };
        let mut peer =
            pb::Peer { node_id: node_id.to_owned(), metadata: Some(metadata), rtt_ms, ..Default::default() };
        peer.set_status(pb::peer::Status::Alive);
        peer
    }

    #[test]
    fn zones_stand_for_many_nodes_by_the_middle_round_trip() {
        let peers = [
            peer("a1", "a", None),
            peer("a2", "a", Some(1.0)),
            peer("b1", "b", Some(9.0)),
            peer("b2", "b", Some(5.0)),
            peer("b3", "b", Some(7.0)),
            peer("c", "", Some(30.0)),
        ];
        let mut row = own_row("a1", &peers);
        assert_eq!(row.round_trips.len(), 5);
        fold(&mut row, &zones(&peers));
        let told: Vec<_> = row.round_trips.iter().map(|trip| (trip.to.as_str(), trip.rtt_ms)).collect();
        assert_eq!((row.from.as_str(), told), ("a", vec![("(no zone)", 30.0), ("a", 1.0), ("b", 7.0)]));
        let alive: Vec<&pb::Peer> = peers.iter().collect();
        let chosen = one_of_each_zone("b2", &alive).into_iter().map(|peer| peer.node_id.as_str());
        assert_eq!(chosen.collect::<Vec<_>>(), ["c", "a1", "b2"]);
    }

    #[test]
    fn what_a_node_makes_up_is_left_out() {
        let peers = [peer("a", "", None), peer("b", "", None), peer("c", "", None)];
        let trip = |to: &str, rtt_ms| pb::RoundTrip { to: to.to_owned(), rtt_ms };
        let made_up = (0..2000).map(|number| trip(&format!("x{number}"), 1.0));
        let round_trips =
            made_up.chain([trip("b", f64::NAN), trip("c", 2.0), trip("c", 3.0), trip("a", 1.0)]).collect();
        let row = pb::RoundTripRow { from: "liar".to_owned(), round_trips, ..Default::default() };
        let said = pb::RoundTripsResponse { rows: vec![row.clone(), row], ..Default::default() };
        let row = bounded("a".to_owned(), said, &peers);
        assert_eq!((row.from.as_str(), row.round_trips), ("a", vec![trip("c", 3.0)]));
    }
}
