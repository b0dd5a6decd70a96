//! Health: what this node knows of peers by gossip, beside what the registry has of them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_gossip::gossip_health::GossipHealth;
use omnirelay_gossip::{MemberEvent, MemberHealth};
use omnirelay_host::wall_clock;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::listing::{self, AskedPage};
use omnirelay_peer_records::{check_known, check_node_id, peer_id};
use omnirelay_registry::mutate::request_hash;
use omnirelay_transport::peer::CallPath;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::timestamp::{Timestamp, timestamp};
use pb::peer_control_service_client::PeerControlServiceClient;

use super::{Peers, pb, peer, ping};
use pb::peer::Status as Committed;
use pb::peer_health::State;

/// How many nodes are asked that took part, and how long each may take.
const ASKED_MAX: usize = 12;
const WITHIN: Duration = Duration::from_millis(1500);

fn of_unix(unix: Duration) -> Timestamp {
    timestamp(Millis(whole_ms(unix)))
}

impl Peers {
    /// Health of the peers as gossip knows it now.
    pub(super) fn heard(&self) -> GossipHealth {
        GossipHealth::of(self.gossip.as_deref(), self.registry.view())
    }

    /// The same of one peer.
    pub(super) fn heard_of(&self, node_id: &str) -> GossipHealth {
        GossipHealth::of_one(self.gossip.as_deref(), self.registry.view(), node_id)
    }

    /// Members that this node hears of and the registry has not.
    pub(super) fn heard_only(
        &self,
        heard: &GossipHealth,
        federated: Vec<pb::HeardMember>,
    ) -> Vec<pb::HeardMember> {
        let is_peer = |node: &String| self.registry.view().get(&peer_id(node)).is_some();
        let unregistered = heard.live().filter(|(node, _)| !is_peer(node));
        let members = unregistered.filter_map(|(node, health)| {
            // Of whom others alone have told there may be nobody.
            let said = health.record()?;
            Some(pb::HeardMember {
                node_id: node.clone(),
                cluster_id: said.cluster_id,
                endpoint: said.endpoint,
                federated: false,
                health: Some(heard.shown(node)),
            })
        });
        members.chain(federated).collect()
    }

    /// Tells what has happened to a peer.
    pub(super) async fn explain(
        &self,
        asked: pb::ExplainPeerRequest,
    ) -> Result<pb::ExplainPeerResponse, Fault> {
        let pb::ExplainPeerRequest { node_id, local } = asked;
        check_node_id(&node_id)?;
        let heard = self.heard_of(&node_id);
        if heard.get(&node_id).is_none() {
            check_known(&self.registry, &node_id).await?;
        }
        let own = self.registry.node_id();
        let story = self.gossip.as_ref().map(|gossip| gossip.story(&node_id)).unwrap_or_default();
        let mut chapters: Vec<_> = story.iter().map(|chapter| told(own, chapter)).collect();
        let mut silent = Vec::new();
        if !local {
            let answers = join_all(took_part(&node_id, &story, own).into_iter().map(|node| {
                let node_id = node_id.clone();
                async move { (self.ask(&node, node_id).await, node) }
            }));
            for (answer, node) in answers.await {
                match answer {
                    Some(theirs) => chapters.extend(theirs),
                    None => silent.push(node),
                }
            }
        }
        chapters.sort_by_key(|chapter| chapter.time);
        Ok(pb::ExplainPeerResponse {
            schema_version: SCHEMA_VERSION.to_owned(),
            generated_at: Some(of_unix(wall_clock::unix())),
            local_node_id: own.to_owned(),
            health: Some(heard.shown(&node_id)),
            member: heard.get(&node_id).and_then(MemberHealth::record),
            node_id,
            chapters,
            silent,
        })
    }

    /// Asks another node what it has seen.
    async fn ask(&self, node: &str, node_id: String) -> Option<Vec<pb::PeerChapter>> {
        let channel = self.transport.as_ref()?.channel(node, CallPath::REPEATABLE).ok()?;
        let asked = pb::ExplainPeerRequest { node_id, local: true };
        let answer = PeerControlServiceClient::new(channel.within(WITHIN)).explain(asked).await;
        answer.ok().map(|answer| answer.into_inner().chapters)
    }

    /// Says of each peer whether work may be given to it.
    pub(super) async fn lease_health(
        &self,
        asked: pb::GetLeaseHealthRequest,
    ) -> Result<pb::GetLeaseHealthResponse, Fault> {
        let query = request_hash(&pb::GetLeaseHealthRequest::default());
        let page = AskedPage::of(asked.page_size, &asked.page_token, query)?;
        self.registry.ready_for("").await?;
        let (view, heard) = (self.registry.view(), self.heard());
        let read =
            listing::read(&self.registry, &omnirelay_peer_records::PEER, &page.token.as_ref().into()).await?;
        let mut summary = pb::LeaseHealthSummary::default();
        for record in read.records.iter() {
            let Some(value) = record.value::<PeerValue>() else { continue };
            let one = lease_health(&peer(view, record), &heard);
            let may = one.is_healthy && !value.cordoned && !value.draining;
            summary.eligible_peers += u32::from(may);
            summary.unhealthy_peers += u32::from(!one.is_healthy);
            summary.pending_reassignments += one.pending_reassignments;
        }
        let (peers, next_page_token) = page.cut(read.cursor, read.records.iter(), |record| {
            [record.value::<PeerValue>().map(|_| lease_health(&peer(view, record), &heard))]
        });
        Ok(pb::GetLeaseHealthResponse { peers, summary: Some(summary), next_page_token })
    }
}

/// The nodes that have had to do with what happened to a peer, itself first.
fn took_part(node_id: &str, story: &[MemberEvent], own: &str) -> Vec<String> {
    let mut nodes = vec![node_id.to_owned()];
    // What is newest is asked for.
    for chapter in story.iter().rev() {
        let helpers = chapter.evidence.iter().flat_map(|evidence| &evidence.helpers);
        nodes.extend(chapter.by.iter().chain(helpers).map(|node| node.as_str().to_owned()));
    }
    let mut seen = BTreeSet::new();
    nodes.retain(|node| node != own && seen.insert(node.clone()));
    nodes.truncate(ASKED_MAX);
    nodes
}

fn told(observer: &str, chapter: &MemberEvent) -> pb::PeerChapter {
    let evidence = chapter.evidence.as_ref().map(|evidence| pb::PeerEvidence {
        waited_ms: ping::millis(evidence.waited),
        helpers: evidence.helpers.iter().map(|node| node.as_str().to_owned()).collect(),
        nacks: u32::try_from(evidence.nacks).unwrap_or(u32::MAX),
        rtt_ms: evidence.rtt.map(ping::millis),
        unwell: evidence.health.into(),
    });
    pb::PeerChapter {
        observer: observer.to_owned(),
        time: Some(of_unix(chapter.at)),
        verdict: chapter.verdict.word().to_owned(),
        by: chapter.by.as_ref().map(|by| by.as_str().to_owned()).unwrap_or_default(),
        incarnation: chapter.incarnation,
        evidence,
        correlation_id: chapter.correlation_id.clone(),
    }
}

fn lease_health(peer: &pb::Peer, heard: &GossipHealth) -> pb::LeaseHealth {
    let said = peer.metadata.clone().unwrap_or_default();
    let health = heard.shown(&peer.node_id);
    let is_alive = peer.status() == Committed::Alive;
    let is_healthy = is_alive && matches!(health.state(), State::Alive | State::Unknown);
    let mut metadata = said.labels;
    let words = [
        ("mesh.role", said.role),
        ("mesh.cluster", said.cluster_id),
        ("mesh.region", said.region),
        ("mesh.version", said.mesh_version),
        ("mesh.health", health.state().as_str_name().to_owned()),
    ];
    metadata.extend(words.map(|(key, value)| (key.to_owned(), value)));
    let leads = u32::try_from(peer.leads.len()).unwrap_or(u32::MAX);
    pb::LeaseHealth {
        peer_id: peer.node_id.clone(),
        last_heartbeat: peer.last_seen.max(health.heard_at),
        last_disconnect: if is_alive { None } else { peer.status_since },
        is_healthy,
        active_assignments: leads,
        pending_reassignments: if peer.draining || !is_alive { leads } else { 0 },
        active_leases: peer.leads.clone(),
        metadata,
    }
}

/// Reads field `health` of a request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(crate) fn states(values: &[i32]) -> Result<BTreeSet<i32>, Fault> {
    let known = |value: &i32| State::try_from(*value).is_ok_and(|state| state != State::Unspecified);
    match values.iter().find(|value| !known(value)) {
        Some(_) => {
            Err(Fault::invalid("field `health` must be `alive`, `suspect`, `dead`, `left` or `unknown`"))
        }
        None => Ok(values.iter().copied().collect()),
    }
}
