//! A whole node without its surface: what [`omnirelay_node::Node`] starts, in one future.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use omnirelay_core::labels::Labels;
use omnirelay_leadership::campaign::{CampaignSettings, Campaigner};
use omnirelay_leadership::metrics::LeadershipMetrics;
use omnirelay_leadership_records::LEADERSHIP;
use omnirelay_nouns::merge::RecordMergers;
use omnirelay_peer_records::PEER;
use omnirelay_peer_records::merge::PeerMerger;
use omnirelay_peer_records::presence::{Presence, PresenceSettings};
use omnirelay_peers::keep_present::keep_present;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::follow_log;
use omnirelay_restoration::LostRecordRestorer;
use omnirelay_restoration_records::RESTORATION;
use omnirelay_scripted::Scripted;
use omnirelay_store::{RecordKind, Retention};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::link::Link;
use super::orders::{Order, Services};
use super::process::Process;
use super::server::Server;
use super::service::{Beliefs, Resource, Service};
use crate::recorder::Recorder;

static MIRRORED: [RecordKind; 3] = [PEER, LEADERSHIP, RESTORATION];
const RENEW_EVERY: Duration = Duration::from_millis(500);
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
/// Of the configuration, by default.
pub(super) const SESSION_TTL: Duration = Duration::from_secs(2);

/// What all nodes share.
pub(super) struct Mesh {
    pub server: Arc<Server>,
    pub recorder: Arc<Recorder>,
    pub resource: Arc<Resource>,
    pub scopes: Vec<String>,
}

/// A node that runs, or has ended.
pub(super) struct Node {
    pub link: Arc<Scripted<Link>>,
    pub process: Arc<Process>,
    stop: Arc<Notify>,
    orders: UnboundedSender<Order>,
}

impl Node {
    /// Starts a node, or starts it again: with the same id and secret.
    pub(super) fn start(id: &str, mesh: &Mesh, seed: u64) -> Self {
        let link = Arc::new(Scripted(Link::new(Arc::clone(&mesh.server), seed)));
        let restored =
            [omnirelay_peers::KINDS, omnirelay_leadership::KINDS].map(|kinds| kinds.restored.to_vec());
        let registry = Registry::new(id, link.clone(), &MIRRORED).claiming(&[RESTORATION]);
        let registry = Arc::new(registry.restoring(restored.to_vec(), SESSION_TTL));
        let presence = Presence::new(registry.clone(), presence_settings(id), profile());
        let settings = campaign_settings(&mesh.scopes, seed);
        let metrics = Arc::new(LeadershipMetrics::new(&prometheus::Registry::new()).unwrap());
        let campaigner = Arc::new(Campaigner::new(registry.clone(), settings, metrics));
        let beliefs = Arc::new(Beliefs::new(registry.clone(), campaigner.clone(), mesh.recorder.clone()));
        let service = Service::new(registry.clone(), beliefs.clone(), mesh, seed);
        let (stop, (orders, ordered)) = (Arc::new(Notify::new()), unbounded_channel());
        let mergers = Arc::new(RecordMergers::default());
        mergers.add(PEER, Arc::new(PeerMerger));
        mergers.add(LEADERSHIP, campaigner.clone());
        let restorer = LostRecordRestorer::new(registry.clone(), mergers, SESSION_TTL);
        let presence = Arc::new(presence);
        let life = Life { registry, presence, campaigner, restorer, service, stop: stop.clone() };
        let process = Process::start(id, life.live(ordered), move || beliefs.observe());
        Self { link, process, stop, orders }
    }

    /// Has it stop on purpose.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Has somebody order something by way of this node.
    pub(super) fn order(&self, order: Order) {
        // A node that has ended takes none.
        let _ = self.orders.send(order);
    }
}

struct Life {
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    campaigner: Arc<Campaigner>,
    restorer: LostRecordRestorer,
    service: Service,
    stop: Arc<Notify>,
}

impl Life {
    async fn live(self, ordered: UnboundedReceiver<Order>) {
        let follow = follow_log(self.registry.clone());
        tokio::select! {
            biased;
            () = follow => {}
            () = self.live_and_leave(ordered) => {}
        }
    }

    async fn live_and_leave(&self, ordered: UnboundedReceiver<Order>) {
        let services = Services::of(&self.registry);
        let orders = Mutex::new(Orders { services, ordered, under_way: Vec::new() });
        tokio::select! {
            biased;
            () = keep_present(self.registry.clone(), self.presence.clone(), RENEW_EVERY) => {}
            () = self.registry.clone().keep_house(retention(), HOUSEKEEPING_EVERY) => {}
            () = self.restorer.run() => {}
            () = self.lead() => {}
            () = self.service.run() => {}
            () = poll_fn(|cx| orders.lock().unwrap().poll(cx)) => {}
        }
        self.presence.leave().await;
    }

    /// Campaigns until the node is to stop, and hands over what it leads.
    async fn lead(&self) {
        tokio::select! {
            biased;
            () = self.campaigner.run() => pending().await,
            () = self.stop.notified() => {}
        }
        self.campaigner.leave().await;
    }
}

/// Orders under way, in the order in which they came.
struct Orders {
    services: Services,
    ordered: UnboundedReceiver<Order>,
    under_way: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Orders {
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(order)) = self.ordered.poll_recv(cx) {
            self.under_way.push(Box::pin(self.services.clone().carry_out(order)));
        }
        self.under_way.retain_mut(|order| order.as_mut().poll(cx).is_pending());
        Poll::Pending
    }
}

fn presence_settings(id: &str) -> PresenceSettings {
    PresenceSettings {
        audited: false,
        session_ttl: SESSION_TTL,
        dead_after: SESSION_TTL * 5,
        forget_after: SECOND * 3600,
        session_secret: format!("secret of {id}"),
    }
}

fn profile() -> pb::PeerMetadata {
    pb::PeerMetadata { role: "node".into(), campaigns: true, ..pb::PeerMetadata::default() }
}

fn campaign_settings(scopes: &[String], seed: u64) -> CampaignSettings {
    let entered: BTreeMap<_, _> = scopes.iter().map(|scope| (scope.clone(), Labels::new())).collect();
    CampaignSettings {
        enabled: true,
        evaluation_interval: Duration::from_millis(750),
        election_backoff: Duration::from_millis(100),
        max_election_window: SECOND * 5,
        entered,
        seed,
    }
}

/// Short, so that readers meet a log that does not reach back.
fn retention() -> Retention {
    Retention {
        log_age: SECOND * 20,
        log_entries_max: 200,
        tombstone_age: SECOND * 60,
        idempotency_age: SECOND * 60,
        idempotency_entries_max: 100,
    }
}
