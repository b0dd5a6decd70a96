//! Peers: the nodes of a mesh.

mod change;
mod drain;
mod filter;
mod health;
pub mod keep_present;
pub mod metrics;
mod mount;
#[cfg(test)]
mod peers_test;
mod ping;
#[cfg(test)]
mod reload_test;
pub mod verdicts;
mod watching;

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_gossip::Gossip;
use omnirelay_gossip::gossip_health::GossipHealth;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_node::transport::NodeTransport;
use omnirelay_nouns::feed::NounWatches;
use omnirelay_nouns::listing::{self, ListMoment, PageRoom, PageToken};
use omnirelay_nouns::topic::{CHANGES, Topic, TopicEvent};
use omnirelay_nouns::{envelope, envelope_at, head_cursor, not_modified, tagged, timestamp};
use omnirelay_peer_records::{PEER, check_node_id, is_alive, not_found, peer_id, session_id};
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::{LeaseTenancy, View, ViewReading, ViewRecord};
use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message as _;
use tonic::Response;
use xxhash_rust::xxh64::xxh64;

use filter::PeerFilter;
#[cfg(any(test, feature = "testing"))]
pub use mount::mount_alone;
pub use mount::{KINDS, ShownOfPeers, StartupAnnouncement, mount, presence};
use omnirelay_peer_records::{UnprovenNodes, UnprovenReasons};
use watching::WatchedPeers;

/// What to do when a peer is judged, for whoever reads the log.
const PEERS_RUNBOOK: &str = "docs/runbooks/peers.md";
const PAGE_SIZE_MAX: usize = 1000;

/// Tells how many shards each node owns.
pub type ShardCounts = Box<dyn Fn(&View) -> Arc<BTreeMap<String, u32>> + Send + Sync>;

/// Holdings of peers, by what the registry has of other capabilities.
pub struct HeldByPeers {
    /// How many shards each owns.
    pub shard_counts: ShardCounts,
    /// What keeps each of these scopes at the node that leads it.
    pub scopes: fn(&View, &str, Vec<String>) -> Vec<pb::DrainRemainder>,
    /// The shards that a node still owns.
    pub shards: fn(&View, &str) -> Vec<pb::DrainShards>,
}

/// They hold nothing, as where there is no other capability.
#[cfg(any(test, feature = "testing"))]
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
    transport: Option<Arc<NodeTransport>>,
    /// What is heard of them; `None`: nothing is.
    gossip: Option<Arc<Gossip>>,
    /// The nodes of federated clusters that are known.
    federated: Box<dyn Fn() -> Vec<pb::HeardMember> + Send + Sync>,
    watches: NounWatches<pb::PeerEvent>,
    /// What they hold.
    held: HeldByPeers,
    /// Who is none of the mesh.
    unproven: Arc<UnprovenNodes>,
}

impl Peers {
    /// At most `watches_max` watches are served at once. What peers hold is `held`.
    pub fn new(registry: Arc<Registry>, watches_max: impl Into<Live<usize>>, held: HeldByPeers) -> Self {
        let watches = NounWatches::new(registry.clone(), watches_max);
        Self {
            watches,
            registry,
            transport: None,
            gossip: None,
            federated: Box::new(Vec::new),
            held,
            unproven: Arc::default(),
        }
    }

    /// Calls them so.
    #[must_use]
    pub fn calling(self, transport: Option<Arc<NodeTransport>>) -> Self {
        Self { transport, ..self }
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

    /// A peer with what moves without its record.
    fn with_what_moves(
        &self,
        peer: pb::Peer,
        heard: &GossipHealth,
        (owned, unproven): (&BTreeMap<String, u32>, &UnprovenReasons),
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
    ) -> Result<Response<EncodedMessage<pb::ListPeersResponse>>, Fault> {
        if !asked.at.is_empty() && !asked.health.is_empty() {
            return Err(Fault::invalid(
                "field `health` goes without `at`: who was heard of is not in the history",
            ));
        }
        let filter = PeerFilter::of_list(&asked)?;
        let order = filter::order(&asked.order_by)?;
        let size = listing::page_size(asked.page_size, PAGE_SIZE_MAX, PAGE_SIZE_MAX)?;
        self.registry.ready_for(&asked.min_revision).await?;

        let query = query_hash(&asked);
        let token = PageToken::decode(&asked.page_token, query)?;
        let moment = ListMoment::of(&self.registry, &asked.at, token.as_ref()).await?;
        let ViewReading { cursor, changed, records } = listing::read(&self.registry, &PEER, &moment).await?;
        let envelope = envelope_at(&self.registry, &moment);
        let states = health::states(&asked.health)?;
        let federated = if is_of_all(&asked) { (self.federated)() } else { Vec::new() };
        let moving = (self.gossip.as_deref(), federated.as_slice());
        let owned = (self.held.shard_counts)(moment.view(&self.registry));
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
            if moment.past().is_some() {
                let shards = owned.get(&record.record.id.key).copied().unwrap_or_default();
                return pb::Peer { shards, ..pb::Peer::default() };
            }
            let present = present(&tenancy, record);
            self.with_what_moves(present, &heard, (&owned, &unproven), &record.record.id.key)
        };
        let besides = heard_only.iter().map(|heard| heard.encoded_len() + listing::ITEM_BYTES).sum();
        let bytes = |record: &ViewRecord| {
            record.shown(shown).map_or(0, |shown| shown.len() + moves(record).encoded_len())
        };
        let room = (PageRoom::of(size).beside(besides), bytes);
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
        moving: (&BTreeMap<String, u32>, &UnprovenReasons),
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

/// Topic of peers in the stream of events: what is told of them.
pub fn topic(registry: Arc<Registry>) -> Topic {
    let unproven = Arc::<UnprovenNodes>::default();
    let noun = move || WatchedPeers { registry: registry.clone(), gossip: None, unproven: unproven.clone() };
    Topic::of("peers", CHANGES, [PEER], noun, |event| TopicEvent {
        what: event.r#type().as_str_name(),
        data: pb::EventData { peer: event.peer, ..pb::EventData::default() },
    })
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
) -> EncodedMessage<pb::ListPeersResponse> {
    /// The number of the field `peers`.
    const PEERS: u32 = 9;
    let peers = records.iter().filter_map(|record| Some((record.shown(shown)?, record)));
    EncodedMessage::with_items(response, PEERS, peers, |record| moves(record))
}

/// What is shown of a record alone.
fn shown(it: &ViewRecord) -> Option<pb::Peer> {
    Some(recorded(it, it.read()?))
}

/// A peer with how this node hears of it and calls it, and how far it is.
fn linked(
    peer: pb::Peer,
    (transport, heard): (Option<&NodeTransport>, &GossipHealth),
    node_id: &str,
) -> pb::Peer {
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
        rpc_transport: used.protocol.map(ConnectionProtocol::word).unwrap_or_default().to_owned(),
        downgrade: used.why.map(Downgrade::word).unwrap_or_default().to_owned(),
        ..peer
    }
}

/// The same of a record whose value is this one, or is to be.
fn show(tenancy: &LeaseTenancy<'_>, record: &ViewRecord, value: PeerValue) -> pb::Peer {
    let pb::Peer { leads, last_seen, .. } = present(tenancy, record);
    pb::Peer { leads, last_seen, ..recorded(record, value) }
}

/// What is known of a peer besides its record, and moves without a revision.
fn present(tenancy: &LeaseTenancy<'_>, record: &ViewRecord) -> pb::Peer {
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
    (owned, unproven): (&BTreeMap<String, u32>, &UnprovenReasons),
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
