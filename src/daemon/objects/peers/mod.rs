//! Peers: the nodes of a mesh.

mod change;
mod drain;
mod filter;
mod health;
pub mod merge;
#[cfg(test)]
mod peers_test;
mod ping;
pub mod presence;
pub mod reach;
mod roster;
mod unproven;
pub mod verdicts;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::names::check_node_name;
use omnirelay_core::time::Millis;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::feed::Watches;
use omnirelay_nouns::listing::{self, PageToken, Room};
use omnirelay_nouns::topic::{CHANGES, Told, Topic};
use omnirelay_nouns::{envelope, head_cursor, not_modified, tagged, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::act::Reader;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::{Reading, Tenancy, View, ViewRecord};
use omnirelay_store::{GroupId, GroupRef, Kind, RecordId};
use omnirelay_transport::carrier::Protocol;
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_wire::encoded::Encoded;
use omnirelay_wire::envelope::Enveloped as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::millis;
use prost::Message as _;
use tonic::Response;
use tracing::warn;
use xxhash_rust::xxh64::xxh64;

use crate::gossip::Gossip;
use crate::transport::{Located, Transport};
use filter::PeerFilter;
use health::Heard;
use roster::PeerStanding;
pub use roster::{Roster, statuses};
use unproven::unproven;
pub use unproven::{Reasons, UnprovenNodes, unproven_and_listed, unproven_and_live};
use watching::WatchedPeers;

/// Records of peers; the key is the node id.
pub const PEER: Kind = Kind::of("peer");

/// What to do when a peer is judged, for whoever reads the log.
const PEERS_RUNBOOK: &str = "docs/runbooks/peers.md";
const PAGE_SIZE_MAX: usize = 1000;
/// How often, and how long apart, it is looked for the session of a node that is to be ended.
const SESSION_LOOKS: usize = 10;
const SESSION_LOOK_EVERY: Duration = Duration::from_millis(100);
/// How far a node's idea of the store's clock may be ahead: as long as a question to the store may take, in ms.
const AHEAD_MS: u64 = 500;

/// The other nodes that may be there: whoever does not reach the store is judged suspect, and dead, and lives perhaps.
pub fn others(registry: &Registry) -> Vec<String> {
    let is_there = |peer: &PeerValue| peer.status != pb::peer::Status::Left as i32;
    of_others(registry, |peer| is_there(peer).then_some(())).into_iter().map(|(node, ())| node).collect()
}

/// Whether a peer is alive by its record.
fn is_alive(peer: &PeerValue) -> bool {
    peer.status == pb::peer::Status::Alive as i32
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

/// What there is of the other nodes, each with its id.
fn of_others<T>(registry: &Registry, what: impl Fn(&PeerValue) -> Option<T>) -> Vec<(String, T)> {
    let records = registry.view().list(&PEER).records;
    let others = records.iter().filter(|record| record.record.id.key != registry.node_id());
    let found = others.filter_map(|record| {
        let what = what(&*record.value::<PeerValue>()?)?;
        Some((record.record.id.key.clone(), what))
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

/// Whether a node has a record, whatever its status, as far as this node knows.
pub fn is_registered(registry: &Registry, node_id: &str) -> bool {
    registry.view().get(&peer_id(node_id)).is_some()
}

/// Where the mesh port of a node is, if it says so.
pub fn mesh_of(registry: &Registry, node_id: &str) -> Option<Located> {
    let peer = registry.view().get(&peer_id(node_id))?.value::<PeerValue>()?;
    let metadata = peer.metadata.as_ref()?;
    let mesh = metadata.endpoints.as_ref()?.mesh.clone()?;
    Some(Located { mesh, http3: metadata.http3_support })
}

/// The session that the record of a node names; `None`: it has no record.
pub fn recorded_session(view: &View, node_id: &str) -> Option<GroupRef> {
    let record = view.get(&peer_id(node_id))?;
    PeerStanding::of(&record).map(|standing| standing.session_of(&record))
}

/// For how long gossip has taken a node for suspect or dead; `None`: it does not.
pub fn doubted_for(gossip: &Gossip, view: &View, node_id: &str) -> Option<Duration> {
    use pb::peer_health::State;
    let heard = Heard::of_one(Some(gossip), view, node_id);
    matches!(heard.state(node_id), State::Suspect | State::Dead).then(|| heard.age(node_id)).flatten()
}

/// Whether there is a record of a node, live or not.
pub fn is_known(registry: &Registry, node_id: &str) -> bool {
    registry.view().get(&RecordId::new(PEER, node_id)).is_some()
}

/// What peers hold, by what the registry has of other capabilities.
pub struct HeldByPeers {
    /// How many shards each owns.
    pub shard_counts: Box<dyn Fn(&View) -> Arc<BTreeMap<String, u32>> + Send + Sync>,
    /// What keeps each of these scopes at the node that leads it.
    pub scopes: fn(&View, &str, Vec<String>) -> Vec<pb::DrainRemainder>,
    /// The shards that a node still owns.
    pub shards: fn(&View, &str) -> Vec<pb::DrainShards>,
}

/// They hold nothing.
impl Default for HeldByPeers {
    fn default() -> Self {
        Self {
            shard_counts: Box::new(|_| Arc::default()),
            scopes: |_, _, _| Vec::new(),
            shards: |_, _| Vec::new(),
        }
    }
}

/// Serves `PeerControlService` from a registry.
pub struct Peers {
    registry: Arc<Registry>,
    /// How they are called; `None`: they are not.
    transport: Option<Arc<Transport>>,
    /// What is heard of them; `None`: nothing is.
    gossip: Option<Arc<Gossip>>,
    /// The nodes of federated clusters that are known.
    federated: Box<dyn Fn() -> Vec<pb::HeardMember> + Send + Sync>,
    watches: Watches<pb::PeerEvent>,
    /// What they hold.
    held: HeldByPeers,
    /// Who is none of the mesh.
    unproven: Arc<UnprovenNodes>,
}

impl Peers {
    /// At most `watches_max` watches are served at once.
    pub fn new(registry: Arc<Registry>, watches_max: usize) -> Self {
        let watches = Watches::new(registry.clone(), watches_max);
        Self {
            watches,
            registry,
            transport: None,
            gossip: None,
            federated: Box::new(Vec::new),
            held: HeldByPeers::default(),
            unproven: Arc::default(),
        }
    }

    /// Calls them so.
    #[must_use]
    pub fn calling(self, transport: Arc<Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// Hears of them so.
    #[must_use]
    pub fn hearing(self, gossip: Option<Arc<Gossip>>) -> Self {
        Self { gossip, ..self }
    }

    /// Shows these nodes of federated clusters beside peers.
    #[must_use]
    pub fn beside(self, federated: impl Fn() -> Vec<pb::HeardMember> + Send + Sync + 'static) -> Self {
        Self { federated: Box::new(federated), ..self }
    }

    /// They hold this.
    #[must_use]
    pub fn holding(self, held: HeldByPeers) -> Self {
        Self { held, ..self }
    }

    /// A peer with what moves without its record.
    fn with_what_moves(
        &self,
        peer: pb::Peer,
        heard: &Heard,
        (owned, unproven): (&BTreeMap<String, u32>, &Reasons),
        node_id: &str,
    ) -> pb::Peer {
        let shards = owned.get(node_id).copied().unwrap_or_default();
        let unproven = unproven.get(node_id).map(|why| why.word().to_owned()).unwrap_or_default();
        pb::Peer { shards, unproven, ..linked(peer, (self.transport.as_deref(), heard), node_id) }
    }

    /// All of them, as a list shows them.
    pub async fn all(&self) -> Vec<pb::Peer> {
        let records = self.registry.look(|view| view.list(&PEER).records).await;
        let (owned, unproven) =
            ((self.held.shard_counts)(self.registry.view()), self.unproven.of(self.registry.view()));
        let heard = self.heard();
        let show = |record: &ViewRecord| {
            let shown = peer(self.registry.view(), record);
            self.with_what_moves(shown, &heard, (&owned, &unproven), &record.record.id.key)
        };
        records.iter().map(|record| show(record)).collect()
    }

    async fn list_page(
        &self,
        caller: &Caller,
        asked: pb::ListPeersRequest,
    ) -> Result<Response<Encoded<pb::ListPeersResponse>>, Fault> {
        let filter = PeerFilter::of_list(&asked)?;
        let order = filter::order(&asked.order_by)?;
        let size = listing::page_size(asked.page_size, PAGE_SIZE_MAX, PAGE_SIZE_MAX)?;
        self.registry.ready_for(&asked.min_revision).await?;

        let query = query_hash(&asked);
        let token = PageToken::decode(&asked.page_token, query)?;
        let Reading { cursor, changed, records } =
            listing::read(&self.registry, &PEER, token.as_ref()).await?;
        let envelope = envelope(&self.registry);
        let states = health::states(&asked.health)?;
        let federated = if is_of_all(&asked) { (self.federated)() } else { Vec::new() };
        let moving = (self.gossip.as_deref(), federated.as_slice());
        let owned = (self.held.shard_counts)(self.registry.view());
        let unproven = self.unproven.of(self.registry.view());
        let tag = list_tag(&asked, changed, envelope.stale, moving, (&owned, &unproven));
        if caller.has_seen(&tag) {
            return Ok(not_modified(&tag, &cursor.to_string()));
        }
        let heard = self.heard();
        let is_so = |record: &ViewRecord| {
            states.is_empty() || states.contains(&heard.state(&record.record.id.key).into())
        };
        let matching = records.iter().filter(|record| filter.matches(record) && is_so(record));
        let heard_only = if is_of_all(&asked) { self.heard_only(&heard, federated) } else { Vec::new() };
        let tenancy = self.registry.view().tenancy();
        let moves = |record: &ViewRecord| {
            let present = present(&tenancy, record);
            self.with_what_moves(present, &heard, (&owned, &unproven), &record.record.id.key)
        };
        let besides = heard_only.iter().map(|heard| heard.encoded_len() + listing::ITEM_BYTES).sum();
        let bytes = |record: &ViewRecord| {
            record.shown(shown).map_or(0, |shown| shown.len() + moves(record).encoded_len())
        };
        let room = (Room::of(size).beside(besides), bytes);
        let page = order.page(matching, filter::key, room, token.as_ref());
        let next = page.next.map(|after| PageToken::encode(query, cursor, after));
        let response = pb::ListPeersResponse {
            cursor: cursor.to_string(),
            next_page_token: next.unwrap_or_default(),
            total_size: page.total as u32,
            heard_only,
            ..Default::default()
        }
        .within(envelope);
        Ok(tagged(with_peers(&response, &page.records, moves), &tag, &response.cursor))
    }

    /// One peer as it is shown.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; `PEER_NOT_FOUND`; those of a registry that is not loaded.
    pub async fn one(&self, node_id: &str) -> Result<pb::Peer, Fault> {
        check_node_id(node_id)?;
        self.registry.ready_for("").await?;
        let record = self.record_of(node_id).await?;
        let (owned, unproven) =
            ((self.held.shard_counts)(self.registry.view()), self.unproven.of(self.registry.view()));
        Ok(self.shown(&record, (&owned, &unproven), node_id))
    }

    /// # Errors
    /// `PEER_NOT_FOUND`.
    async fn record_of(&self, node_id: &str) -> Result<Arc<ViewRecord>, Fault> {
        self.registry.find(&peer_id(node_id)).await?.ok_or_else(|| not_found(node_id))
    }

    fn shown(
        &self,
        record: &ViewRecord,
        moving: (&BTreeMap<String, u32>, &Reasons),
        node_id: &str,
    ) -> pb::Peer {
        self.with_what_moves(peer(self.registry.view(), record), &self.heard_of(node_id), moving, node_id)
    }

    async fn get_one(
        &self,
        caller: &Caller,
        asked: pb::GetPeerRequest,
    ) -> Result<Response<pb::GetPeerResponse>, Fault> {
        check_node_id(&asked.node_id)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let record = self.record_of(&asked.node_id).await?;
        let cursor = head_cursor(self.registry.view());
        let owned = (self.held.shard_counts)(self.registry.view());
        let shards = owned.get(&asked.node_id).copied().unwrap_or_default();
        let unproven = self.unproven.of(self.registry.view());
        let why = unproven.get(&asked.node_id).map_or("", |why| why.word());
        let heard = heard_tag(self.gossip.as_deref());
        let tag = format!("\"{}{heard}-{shards}{why}\"", record.record.version);
        if caller.has_seen(&tag) {
            return Ok(not_modified(&tag, &cursor));
        }
        let envelope = envelope(&self.registry);
        let response = pb::GetPeerResponse {
            cursor: cursor.clone(),
            peer: Some(self.shown(&record, (&owned, &unproven), &asked.node_id)),
            ..Default::default()
        }
        .within(envelope);
        Ok(tagged(response, &tag, &cursor))
    }
}

/// What is told of peers in the stream of events.
pub fn topic(registry: Arc<Registry>) -> Topic {
    let unproven = Arc::<UnprovenNodes>::default();
    let noun = move || WatchedPeers { registry: registry.clone(), gossip: None, unproven: unproven.clone() };
    Topic::of("peers", CHANGES, [PEER], noun, |event| Told {
        what: event.r#type().as_str_name(),
        data: pb::EventData { peer: event.peer, ..pb::EventData::default() },
    })
}

/// The record of a peer.
pub fn peer_id(node_id: &str) -> RecordId {
    RecordId::new(PEER, node_id)
}

/// The group that carries a node's presence and its leases.
pub fn session_id(node_id: &str) -> GroupId {
    GroupId(format!("session/{node_id}"))
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

/// The node whose session this is; `None`: it is another group.
pub fn node_of_session(id: &GroupId) -> Option<&str> {
    id.0.strip_prefix("session/")
}

/// The scopes that a node leads.
pub fn leads(view: &View, node_id: &str) -> Vec<String> {
    let tenancy = view.tenancy();
    tenancy.held_by(&session_id(node_id)).into_iter().map(|lease| lease.scope.clone()).collect()
}

/// Since when a node is alive, in the session it has now; `None`: it is not.
pub fn alive_since(view: &View, node_id: &str) -> Option<Millis> {
    let value = view.get(&peer_id(node_id))?.value::<PeerValue>()?;
    let session = GroupRef { id: session_id(node_id), instance: value.session };
    let alive = value.status() == pb::peer::Status::Alive && view.is_live(&session);
    let since = millis(value.status_since.as_ref().filter(|_| alive)?);
    Some(Millis(since.0.saturating_sub(AHEAD_MS)))
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
pub fn check_known_to(reader: &Reader<'_>, node_id: &str) -> Result<(), Fault> {
    if reader.knows(&peer_id(node_id)) { Ok(()) } else { Err(not_found(node_id)) }
}

/// Differs after every change of a peer's record.
pub fn changed(view: &View) -> Cursor {
    view.changed(&PEER)
}

/// A peer as the API shows it: the record, when its session was renewed last, and what it leads.
fn peer(view: &View, record: &ViewRecord) -> pb::Peer {
    show(&view.tenancy(), record, record.read().unwrap_or_default())
}

/// The list `response` with these peers, each put together from what its record says and what `moves` without it.
fn with_peers(
    response: &pb::ListPeersResponse,
    records: &[&Arc<ViewRecord>],
    moves: impl Fn(&ViewRecord) -> pb::Peer,
) -> Encoded<pb::ListPeersResponse> {
    /// The number of the field `peers`.
    const PEERS: u32 = 9;
    let peers = records.iter().filter_map(|record| Some((record.shown(shown)?, record)));
    Encoded::with_items(response, PEERS, peers, |record| moves(record))
}

/// What is shown of a record alone.
fn shown(it: &ViewRecord) -> Option<pb::Peer> {
    Some(recorded(it, it.read()?))
}

/// A peer with how this node hears of it and calls it, and how far it is.
fn linked(peer: pb::Peer, (transport, heard): (Option<&Transport>, &Heard), node_id: &str) -> pb::Peer {
    let peer =
        pb::Peer { health: Some(heard.shown(node_id)), rtt_ms: heard.rtt(node_id).map(ping::millis), ..peer };
    if heard.is_gone(node_id) {
        // How it was reached says nothing any more.
        return peer;
    }
    let used = transport.and_then(|transport| Some((transport, transport.used(node_id)?)));
    let Some((transport, used)) = used else { return peer };
    pb::Peer {
        rtt_ms: peer.rtt_ms.or_else(|| transport.rtt(node_id).map(ping::millis)),
        rpc_transport: used.protocol.map(Protocol::word).unwrap_or_default().to_owned(),
        downgrade: used.why.map(Downgrade::word).unwrap_or_default().to_owned(),
        ..peer
    }
}

/// The same of a record whose value is this one, or is to be.
fn show(tenancy: &Tenancy<'_>, record: &ViewRecord, value: PeerValue) -> pb::Peer {
    let pb::Peer { leads, last_seen, .. } = present(tenancy, record);
    pb::Peer { leads, last_seen, ..recorded(record, value) }
}

/// What is known of a peer besides its record, and moves without a revision.
fn present(tenancy: &Tenancy<'_>, record: &ViewRecord) -> pb::Peer {
    let session = session_id(&record.record.id.key);
    pb::Peer {
        leads: tenancy.held_by(&session).into_iter().map(|lease| lease.scope.clone()).collect(),
        last_seen: tenancy.renewed_at(&session).map(timestamp),
        ..pb::Peer::default()
    }
}

/// What the record of a peer says with this value.
fn recorded(record: &ViewRecord, value: PeerValue) -> pb::Peer {
    let is_alive = is_alive(&value);
    pb::Peer {
        node_id: record.record.id.key.clone(),
        status: value.status,
        status_reason: value.status_reason,
        status_since: value.status_since,
        cordoned: value.cordoned,
        draining: value.draining,
        metadata: value.metadata,
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
        cordon_reason: value.cordon_reason,
        created_at: Some(timestamp(record.record.created_at)),
        updated_at: Some(timestamp(record.record.updated_at)),
        // Of one that is gone nobody keeps the record.
        rival: value.rival.filter(|_| is_alive).map(|rival| rival.control).unwrap_or_default(),
        ..pb::Peer::default()
    }
}

/// Differs whenever the answer's stable part may differ.
fn list_tag(
    asked: &pb::ListPeersRequest,
    changed: Cursor,
    stale: bool,
    (gossip, federated): (Option<&Gossip>, &[pb::HeardMember]),
    (owned, unproven): (&BTreeMap<String, u32>, &Reasons),
) -> String {
    let asked = pb::ListPeersRequest { min_revision: String::new(), ..asked.clone() };
    let mut heard = heard_tag(gossip);
    // When each was heard last moves all the time, and is no news.
    let states = federated.iter().map(|member| (&member.node_id, member.health.as_ref().map(|it| it.state)));
    let states = states.map(|(node, state)| format!("{node} {state:?} "));
    let owned = owned.iter().map(|(node, shards)| format!("{node} {shards} "));
    let unproven = unproven.iter().map(|(node, why)| format!("{node} {} ", why.word()));
    let states: String = states.chain(owned).chain(unproven).collect();
    if !states.is_empty() {
        heard.push_str(&format!("-{:x}", xxh64(states.as_bytes(), 0)));
    }
    format!("W/\"{changed}-{:x}{heard}{}\"", request_hash(&asked), if stale { "-stale" } else { "" })
}

/// Whether the first page of all peers is asked for.
fn is_of_all(asked: &pb::ListPeersRequest) -> bool {
    let pb::ListPeersRequest { order_by, page_size, min_revision, .. } = asked.clone();
    *asked == pb::ListPeersRequest { order_by, page_size, min_revision, ..Default::default() }
}

/// Differs whenever what is heard may differ: it is of this node and this start of it.
fn heard_tag(gossip: Option<&Gossip>) -> String {
    gossip.map(|gossip| format!("-{}", gossip.changed())).unwrap_or_default()
}

fn query_hash(asked: &pb::ListPeersRequest) -> u64 {
    request_hash(&pb::ListPeersRequest {
        page_size: 0,
        page_token: String::new(),
        min_revision: String::new(),
        ..asked.clone()
    })
}

/// Checks field `nodeId` of a request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_node_id(node_id: &str) -> Result<(), Fault> {
    check_node_name(node_id).map_err(|error| Fault::invalid(format!("field `nodeId` is no node id: {error}")))
}

fn not_found(node_id: &str) -> Fault {
    Fault::new(reasons::PEER_NOT_FOUND, format!("there is no peer `{node_id}`"))
        .hint("omnirelay mesh peers list")
}
