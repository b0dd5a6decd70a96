//! Records of peers, as every capability reads them: the nodes of a mesh, their sessions, and how this node stands among them.

mod configured_labels;
pub mod merge;
pub mod presence;
pub mod roster;
pub mod unproven;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::standing::{NodeIdentities, UnprovenNodeReason};
use omnirelay_core::names::check_node_name;
use omnirelay_core::time::Millis;
use omnirelay_registry::Registry;
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{GroupId, GroupRef, RecordId, RecordKind};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::millis;
use tracing::warn;

use roster::PeerStanding;
pub use roster::{PeerRoster, statuses};
pub use unproven::{UnprovenNodes, UnprovenReasons, unproven_and_listed, unproven_and_live};
use unproven::{unproven, unproven_reason};

/// Records of peers; the key is the node id.
pub const PEER: RecordKind = RecordKind::of("peer");

/// How often, and how long apart, it is looked for the session of a node that is to be ended.
const SESSION_LOOKS: usize = 10;
const SESSION_LOOK_EVERY: Duration = Duration::from_millis(100);

/// How far a node's idea of the store's clock may be ahead: as long as a question to the store may take, in ms.
const AHEAD_MS: u64 = 500;

/// The record of a peer.
pub fn peer_id(node_id: &str) -> RecordId {
    RecordId::new(PEER, node_id)
}

/// The group that carries a node's presence and its leases.
pub fn session_id(node_id: &str) -> GroupId {
    GroupId(format!("session/{node_id}"))
}

/// The node whose session this is; `None`: it is another group.
pub fn node_of_session(id: &GroupId) -> Option<&str> {
    id.0.strip_prefix("session/")
}

/// Whether a peer is alive by its record.
pub fn is_alive(peer: &PeerValue) -> bool {
    peer.status == pb::peer::Status::Alive as i32
}

/// Collects what `what` finds in the records of the other nodes, each with the id of its node.
pub fn of_others<T>(registry: &Registry, what: impl Fn(&PeerValue) -> Option<T>) -> Vec<(String, T)> {
    let records = registry.view().list(&PEER).records;
    let others = records.iter().filter(|record| record.record.id.key != registry.node_id());
    let found = others.filter_map(|record| {
        let what = what(&*record.value::<PeerValue>()?)?;
        Some((record.record.id.key.clone(), what))
    });
    found.collect()
}

/// The other nodes that may be there: whoever does not reach the store is judged suspect, and dead, and lives perhaps.
pub fn others(registry: &Registry) -> Vec<String> {
    let is_there = |peer: &PeerValue| peer.status != pb::peer::Status::Left as i32;
    of_others(registry, |peer| is_there(peer).then_some(())).into_iter().map(|(node, ())| node).collect()
}

/// The other nodes that are alive.
pub fn alive(registry: &Registry) -> Vec<String> {
    of_others(registry, |peer| is_alive(peer).then_some(())).into_iter().map(|(node, ())| node).collect()
}

/// The other nodes that are alive, each with its control port, proven or not: whoever asks one finds that by TLS, and a host
/// whose clock is far ahead takes all certificates for ended.
pub fn all_controls(registry: &Registry) -> Vec<(String, String)> {
    of_others(registry, |peer| {
        peer.metadata.as_ref()?.endpoints.as_ref()?.control.clone().filter(|_| is_alive(peer))
    })
}

/// The other nodes of the mesh that are alive, each with its control port.
pub fn controls(registry: &Registry) -> Vec<(String, String)> {
    let unproven = unproven(registry.view());
    let mut found = all_controls(registry);
    found.retain(|(node, _)| !unproven.contains_key(node));
    found
}

/// The nodes of the mesh that are alive and fetch what nodes of a federated cluster advertise, this one among them.
pub fn fetchers(registry: &Registry, cluster: &str) -> Vec<String> {
    // Nodes of another mesh let in nobody who has no certificate.
    let unproven = unproven(registry.view());
    let others = of_others(registry, |peer| {
        let fetches = peer.metadata.as_ref()?.fetches.iter().any(|fetched| fetched == cluster);
        (is_alive(peer) && fetches).then_some(())
    });
    let others = others.into_iter().map(|(node, ())| node).filter(|node| !unproven.contains_key(node));
    others.chain([registry.node_id().to_owned()]).collect()
}

/// The nodes of the mesh that are alive and of which this is so, by what they say of themselves; this one among them.
pub fn live_with(registry: &Registry, is_so: impl Fn(&str, &pb::PeerMetadata) -> bool) -> Vec<String> {
    let unproven = unproven(registry.view());
    let records = registry.view().list(&PEER).records;
    let found = records.iter().filter_map(|record| {
        let (peer, node) = (record.value::<PeerValue>()?, &record.record.id.key);
        let is_alive = is_alive(&peer) && !unproven.contains_key(node);
        (is_alive && is_so(node, peer.metadata.as_ref()?)).then(|| node.clone())
    });
    found.collect()
}

/// The other nodes that are alive and whose daemons know nothing of signed records.
pub fn without_signed_records(registry: &Registry) -> Vec<String> {
    let found = of_others(registry, |peer| {
        let knows = peer.metadata.as_ref().is_some_and(|says| says.knows_signed_records);
        (is_alive(peer) && !knows).then_some(())
    });
    found.into_iter().map(|(node, ())| node).collect()
}

/// The nodes that have not left, in the order of their ids, this one among them: each with its record, and why it is none of the mesh.
pub fn not_left(view: &View) -> Vec<(String, Arc<PeerValue>, Option<UnprovenNodeReason>)> {
    let identities = NodeIdentities::of(view);
    let records = view.list(&PEER).records;
    let found = records.iter().filter_map(|record| {
        if PeerStanding::of(record)?.status() == pb::peer::Status::Left {
            return None;
        }
        let value = record.value::<PeerValue>()?;
        let unproven = unproven_reason(identities.as_ref(), record, &value);
        Some((record.record.id.key.clone(), value, unproven))
    });
    found.collect()
}

/// Whether a node has a record, whatever its status, as far as this node knows.
pub fn is_registered(registry: &Registry, node_id: &str) -> bool {
    registry.view().get(&peer_id(node_id)).is_some()
}

/// The session that the record of a node names; `None`: it has no record.
pub fn recorded_session(view: &View, node_id: &str) -> Option<GroupRef> {
    let record = view.get(&peer_id(node_id))?;
    PeerStanding::of(&record).map(|standing| standing.session_of(&record))
}

/// The public key that a node publishes for the seals of its audit records; `None` when it publishes none.
pub fn published_seal_key(view: &View, node_id: &str) -> Option<Vec<u8>> {
    let value = view.get(&peer_id(node_id))?.value::<PeerValue>()?;
    value.metadata.as_ref().map(|says| says.audit_key.clone()).filter(|key| !key.is_empty())
}

/// The session that this daemon's node holds, as far as the store has not called it over.
pub fn own_session(registry: &Registry) -> Option<GroupRef> {
    registry.held_groups().life_of(&session_id(registry.node_id()))
}

/// The nodes that are there, and those that were when an epoch began that has lost them: all but the dead and those that have left.
pub fn nodes_there(registry: &Registry) -> BTreeSet<String> {
    let (view, losses) = (registry.view(), registry.losses());
    let is_there = |record: &ViewRecord| {
        let status = record.value::<PeerValue>()?.status();
        (!matches!(status, pb::peer::Status::Dead | pb::peer::Status::Left))
            .then(|| record.record.id.key.clone())
    };
    let lost = losses.lost_of(&PEER).into_iter();
    let lost = lost.filter_map(|id| is_there(&losses.of(view, &id)?.record));
    let mut nodes: BTreeSet<String> = lost.collect();
    nodes.extend(view.list(&PEER).records.iter().filter_map(|record| is_there(record)));
    nodes
}

/// The scopes that a node leads.
pub fn leads(view: &View, node_id: &str) -> Vec<String> {
    let tenancy = view.tenancy();
    tenancy.held_by(&session_id(node_id)).into_iter().map(|lease| lease.scope.clone()).collect()
}

/// Time since which a node is alive, in the session it has now; `None`: it is not.
pub fn alive_since(view: &View, node_id: &str) -> Option<Millis> {
    let value = view.get(&peer_id(node_id))?.value::<PeerValue>()?;
    let session = GroupRef { id: session_id(node_id), instance: value.session };
    let alive = value.status() == pb::peer::Status::Alive && view.is_live(&session);
    let since = millis(value.status_since.as_ref().filter(|_| alive)?);
    Some(Millis(since.0.saturating_sub(AHEAD_MS)))
}

/// Differs after every change of a peer's record.
pub fn changed(view: &View) -> Cursor {
    view.changed(&PEER)
}

/// Checks that a node has a record, whatever its status.
///
/// # Errors
/// `PEER_NOT_FOUND`; `STORE_UNAVAILABLE` while its record is about to be restored.
pub async fn check_known(registry: &Registry, node_id: &str) -> Result<(), Fault> {
    registry.find(&peer_id(node_id)).await?.map(|_| ()).ok_or_else(|| not_found(node_id))
}

/// The same for a mutation that is about something else.
///
/// # Errors
/// `PEER_NOT_FOUND`.
pub fn check_known_to(reader: &DecisionReader<'_>, node_id: &str) -> Result<(), Fault> {
    if reader.knows(&peer_id(node_id)) { Ok(()) } else { Err(not_found(node_id)) }
}

/// Ends the session of a node, whoever holds it; whether it had one. Best effort: it may begin another.
pub async fn end_session(registry: &Registry, node_id: &str) -> bool {
    let id = session_id(node_id);
    // The view hears of a session that has just begun with the next beat.
    for _ in 0..SESSION_LOOKS {
        if registry.view().group(&id).is_some() {
            break;
        }
        tokio::time::sleep(SESSION_LOOK_EVERY).await;
    }
    let group = registry.view().group(&id).filter(|group| !group.closed);
    let Some(group) = group else { return false };
    let ended = registry.end_group(registry.view().head().epoch, group.of.clone()).await;
    ended
        .inspect_err(|error| warn!(peer = node_id, %error, "session of a node that was put out not ended"))
        .is_ok()
}

/// Checks field `nodeId` of a request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_node_id(node_id: &str) -> Result<(), Fault> {
    check_node_name(node_id).map_err(|error| Fault::invalid(format!("field `nodeId` is no node id: {error}")))
}

pub fn not_found(node_id: &str) -> Fault {
    Fault::new(reasons::PEER_NOT_FOUND, format!("there is no peer `{node_id}`"))
        .hint("omnirelay mesh peers list")
}
