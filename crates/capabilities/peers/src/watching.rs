//! Watching peers: what the log tells of their records, and what this node hears of their health, in one stream.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::unfold;
use omnirelay_gossip::Gossip;
use omnirelay_gossip::gossip_health::GossipHealth;
use omnirelay_nouns::feed::{EventFrame, Feed, NounEventStream, ShownChange, WatchedNoun};
use omnirelay_peer_records::unproven::UnprovenNodes;
use omnirelay_peer_records::{PEER, peer_id};
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::place_in;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;

use super::filter::PeerFilter;
use super::{Peers, linked, pb, peer};
use pb::peer_event::Type;

/// What the place in what is heard is called in cursors.
const SOURCE: &str = "health";

impl Peers {
    pub(super) async fn serve_watch(
        &self,
        asked: pb::WatchPeersRequest,
    ) -> Result<NounEventStream<pb::PeerEvent>, Fault> {
        let filter = Arc::new(PeerFilter::of_watch(&asked)?);
        let passes = filter.clone();
        let filtered = move |record: &ViewRecord| passes.matches(record);
        let begun = self.watches.begin([PEER], filtered, &asked.since).await?;
        let gossip = self.gossip.clone().filter(|_| asked.health);
        let unproven = self.unproven.clone();
        let watched = WatchedPeers {
            registry: self.registry.clone(),
            gossip: gossip.clone(),
            unproven: unproven.clone(),
        };
        let feed = begun.of(watched);
        let Some(gossip) = gossip else { return Ok(feed.events()) };
        // Whoever begins with a snapshot gets their health with it.
        let (now, _) = gossip.changed_since(u64::MAX);
        let seen = if asked.since.is_empty() { now } else { seen(&gossip, &asked.since) };
        let (registry, waiting) = (self.registry.clone(), VecDeque::new());
        let hearing = PeerWatch { feed, filter, registry, gossip, unproven, seen, waiting };
        Ok(Box::pin(unfold(hearing, |mut hearing| async { Some((Ok(hearing.next().await), hearing)) })))
    }
}

/// How many changes a cursor has seen of those that this start of the node has heard; none of another one's.
fn seen(gossip: &Gossip, cursor: &str) -> u64 {
    let place = place_in(cursor, SOURCE).and_then(|place| place.split_once(':'));
    let of_this_start = place.filter(|(start, _)| u64::from_str_radix(start, 16) == Ok(gossip.instance()));
    of_this_start.and_then(|(_, seen)| seen.parse().ok()).unwrap_or(0)
}

/// Watch of peers and of their health.
struct PeerWatch {
    feed: Feed<WatchedPeers>,
    filter: Arc<PeerFilter>,
    registry: Arc<Registry>,
    gossip: Arc<Gossip>,
    unproven: Arc<UnprovenNodes>,
    /// How many changes were looked at.
    seen: u64,
    /// Whose health has changed and was not told yet.
    waiting: VecDeque<String>,
}

impl PeerWatch {
    async fn next(&mut self) -> EncodedMessage<pb::PeerEvent> {
        loop {
            // Within a snapshot nobody could go on from there.
            let place = self.feed.cursor();
            if let Some(cursor) = place
                && let Some(node_id) = self.waiting.pop_front()
            {
                match self.event(&node_id, &cursor.to_string()) {
                    Some(event) => return event.into(),
                    None => continue,
                }
            }
            // What is told of a change has the health of now, and is made for this watcher alone.
            tokio::select! {
                biased;
                event = self.feed.next_made() => return event.into(),
                (now, nodes) = self.gossip.news_since(self.seen), if place.is_some() => {
                    self.seen = now;
                    self.waiting.extend(nodes);
                }
            }
        }
    }

    /// That the health of a peer has changed which the registry has too.
    fn event(&self, node_id: &str, cursor: &str) -> Option<pb::PeerEvent> {
        let record = self.registry.view().get(&peer_id(node_id))?;
        if !self.filter.matches(&record) {
            return None;
        }
        let view = self.registry.view();
        let heard = GossipHealth::of_one(Some(&self.gossip), view, node_id);
        let unproven = self.unproven.reason(view, node_id);
        let shown = pb::Peer { unproven, ..linked(peer(view, &record), (None, &heard), node_id) };
        Some(pb::PeerEvent {
            r#type: Type::Health.into(),
            time: heard.shown(node_id).since,
            peer: Some(shown),
            // Behind all that waits only the last has seen everything.
            cursor: match self.waiting.is_empty() {
                true => format!("{cursor},{SOURCE}={:x}:{}", self.gossip.instance(), self.seen),
                false => cursor.to_owned(),
            },
            prev_cursor: cursor.to_owned(),
            reason: String::new(),
        })
    }
}

/// Peers as those who watch them are told of them.
pub(super) struct WatchedPeers {
    pub registry: Arc<Registry>,
    /// Whose health is told too; `None`: what is told is the same for all who watch.
    pub gossip: Option<Arc<Gossip>>,
    /// Who is none of the mesh.
    pub unproven: Arc<UnprovenNodes>,
}

impl WatchedNoun for WatchedPeers {
    type Event = pb::PeerEvent;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        let shown = shown.record().map(|record| {
            let node_id = &record.record.id.key;
            let view = self.registry.view();
            let heard = |gossip| GossipHealth::of_one(Some(gossip), view, node_id).shown(node_id);
            let (health, unproven) = (self.gossip.as_deref().map(heard), self.unproven.reason(view, node_id));
            pb::Peer { health, unproven, ..peer(view, record) }
        });
        Some(pb::PeerEvent {
            r#type: frame.kind(Type::from_str_name),
            peer: shown,
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }
}
