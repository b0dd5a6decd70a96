//! Leaders on the memory store, in paused time: several daemons, one mesh.
mod confirming;
mod electing;
mod fencing;
mod mishaps;
mod ordering;
mod reading;
mod reload_test;
mod restoring;
mod retimed;
mod storming;
mod watching;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use omnirelay_core::labels::Labels;
use omnirelay_host::chance::random_secret;
use omnirelay_host::live::Live;
use omnirelay_leadership_records::LEADERSHIP;
use omnirelay_leadership_records::ScopeFences as _;
use omnirelay_leadership_records::scope_state::ScopeState;
use omnirelay_node::lab::reason;
use omnirelay_nouns::feed::NounEventStream;
use omnirelay_nouns::merge::RecordMergers;
use omnirelay_peer_records::PEER;
use omnirelay_peer_records::merge::PeerMerger;
use omnirelay_peer_records::presence::{Presence, PresenceSettings};
use omnirelay_peer_records::roster::PeerRoster;
use omnirelay_peers::keep_present::keep_present;
use omnirelay_peers::{HeldByPeers, Peers};
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_restoration::LostRecordRestorer;
use omnirelay_restoration_records::RESTORATION;
use omnirelay_scripted::{EVERY_CALL, Faulty, Ill, Method, PausedClock, log_of, memory};
use omnirelay_store::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use super::campaign::{CampaignSettings, Campaigner};
use super::*;
use crate::metrics::LeadershipMetrics;
use pb::leader_event::Type;
use pb::peer_control_service_server::PeerControlService;

static MIRRORED: [RecordKind; 3] = [PEER, LEADERSHIP, RESTORATION];
const TTL: Duration = Duration::from_secs(2);
const BACKOFF: Duration = Duration::from_millis(100);
const MS: Duration = Duration::from_millis(1);
const SCOPE: &str = "shard/orders/03";
const WORK: RecordKind = RecordKind::of("work");

/// A node that registers and campaigns when its test says so. Dropping it is a crash.
struct Daemon {
    leaders: Leaders,
    peers: Peers,
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    campaigner: Arc<Campaigner>,
    measured: prometheus::Registry,
    metrics: Arc<LeadershipMetrics>,
    campaigning: JoinSet<()>,
    tasks: JoinSet<()>,
}

/// A daemon that follows the store, and neither registers nor campaigns yet. Without scopes it never leads.
async fn silent(store: Arc<dyn Store>, node_id: &str, scopes: &[&str]) -> Daemon {
    let settings = CampaignSettings {
        enabled: !scopes.is_empty(),
        evaluation_interval: MS * 750,
        election_backoff: BACKOFF,
        max_election_window: MS * 5000,
        entered: scopes.iter().map(|scope| ((*scope).to_owned(), Labels::new())).collect(),
        seed: seed(node_id),
    };
    silent_by(store, node_id, settings.into()).await
}

fn seed(node_id: &str) -> u64 {
    node_id.bytes().map(u64::from).sum()
}

/// A daemon that follows the store, and is to campaign by these settings.
async fn silent_by(store: Arc<dyn Store>, node_id: &str, settings: Live<CampaignSettings>) -> Daemon {
    let restored = [omnirelay_peers::KINDS, crate::KINDS].map(|kinds| kinds.restored.to_vec());
    let registry =
        lab::registry(node_id, store, &MIRRORED).claiming(&[RESTORATION]).restoring(restored.to_vec(), TTL);
    let LabRegistry { registry, mut tasks } = LabRegistry::new(registry).await;
    let present = PresenceSettings {
        audited: false,
        session_ttl: TTL,
        dead_after: TTL * 5,
        forget_after: Duration::from_secs(3600),
        session_secret: node_id.to_owned(),
    };
    let profile = pb::PeerMetadata { campaigns: settings.get().enabled, ..pb::PeerMetadata::default() };
    let presence = Arc::new(Presence::new(registry.clone(), present, profile));
    let measured = prometheus::Registry::new();
    let metrics = Arc::new(LeadershipMetrics::new(&measured).unwrap());
    let campaigner = Arc::new(Campaigner::new(registry.clone(), settings, metrics.clone()));
    let mergers = Arc::new(RecordMergers::default());
    mergers.add(PEER, Arc::new(PeerMerger));
    mergers.add(LEADERSHIP, campaigner.clone());
    let restorer = LostRecordRestorer::new(registry.clone(), mergers, TTL);
    tasks.spawn(async move { restorer.run().await });
    Daemon {
        leaders: Leaders::new(registry.clone(), 100),
        peers: Peers::new(
            registry.clone(),
            100,
            HeldByPeers { scopes: drain_remainders, ..HeldByPeers::default() },
        ),
        registry,
        presence,
        campaigner,
        measured,
        metrics,
        campaigning: JoinSet::new(),
        tasks,
    }
}

/// A daemon that registers and campaigns.
async fn daemon(store: Arc<dyn Store>, node_id: &str, scopes: &[&str]) -> Daemon {
    let mut daemon = silent(store, node_id, scopes).await;
    daemon.register();
    daemon.campaign();
    until("it is registered", || daemon.presence.is_registered()).await;
    daemon
}

/// A daemon that registers, and never leads.
async fn reader(store: Arc<dyn Store>) -> Daemon {
    let mut daemon = silent(store, "reader", &[]).await;
    daemon.register();
    daemon
}

/// Daemons on one store that enter [`SCOPE`], once it is led and all have heard of each other.
async fn mesh(store: &Arc<MemoryStore>, node_ids: &[&str]) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    for node_id in node_ids {
        daemons.push(daemon(store.clone(), node_id, &[SCOPE]).await);
    }
    acquainted(&daemons).await;
    agreed(&daemons, SCOPE).await;
    daemons
}

/// Waits until each of them has heard of the sessions of all.
async fn acquainted(daemons: &[Daemon]) {
    let knows_all = |daemon: &Daemon| {
        let roster = PeerRoster::of(daemon.registry.view());
        roster.nodes().iter().filter(|node| node.session_live).count() >= daemons.len()
    };
    until("they know each other", || daemons.iter().all(knows_all)).await;
}

impl Daemon {
    fn register(&mut self) {
        self.tasks.spawn(keep_present(self.registry.clone(), self.presence.clone(), TTL / 4));
    }

    fn campaign(&mut self) {
        let campaigner = self.campaigner.clone();
        self.campaigning.spawn(async move { campaigner.run().await });
    }

    fn id(&self) -> &str {
        self.registry.node_id()
    }

    fn shown(&self, scope: &str) -> Option<pb::Leadership> {
        ScopeState::find(self.registry.view(), scope).map(|known| known.leadership())
    }

    /// Who leads, as this daemon sees it; empty: nobody.
    fn leader(&self, scope: &str) -> String {
        self.shown(scope).map(|shown| shown.leader_id).unwrap_or_default()
    }

    fn fence(&self, scope: &str) -> Option<LeaseFence> {
        self.campaigner.fence(scope)
    }

    /// Stops on purpose, as a node does.
    async fn stop(mut self) {
        self.campaigning.shutdown().await;
        self.campaigner.leave().await;
        self.presence.leave().await;
        self.tasks.shutdown().await;
    }

    async fn list(&self, request: pb::ListLeadersRequest) -> pb::ListLeadersResponse {
        self.leaders.list(called(request, |_| {})).await.unwrap().into_inner()
    }

    /// Commits nothing but the proof that `fence` is that of the leader.
    async fn prove(&self, fence: LeaseFence) -> Result<CommitOutcome, CommitError> {
        self.registry.attempt(&led(fence), CommitPlan::default()).await
    }
}

/// What only the leader may do, however long it is under way.
fn led(fence: LeaseFence) -> DaemonAct {
    let within = Duration::from_secs(60);
    DaemonAct { within, ..DaemonAct::new("tests.lead", [WORK], WriteAuthority::Leader(fence)) }
}

/// Waits for something that must come to be.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "never: {what}");
        sleep(MS * 5).await;
    }
}

/// Waits until all of them see the same leader, and that one knows that it leads.
async fn agreed(daemons: &[Daemon], scope: &str) -> pb::Leadership {
    let agree = || {
        let leader = daemons[0].leader(scope);
        let knows = daemons.iter().any(|daemon| daemon.id() == leader && daemon.fence(scope).is_some());
        knows && daemons.iter().all(|daemon| daemon.leader(scope) == leader)
    };
    until(&format!("`{scope}` is led"), agree).await;
    daemons[0].shown(scope).unwrap()
}

/// Takes the daemon that leads out of the others.
fn take_leader(daemons: &mut Vec<Daemon>, scope: &str) -> Daemon {
    let leader = daemons[0].leader(scope);
    let place = daemons.iter().position(|daemon| daemon.id() == leader).unwrap();
    daemons.remove(place)
}

fn called<T>(message: T, change: impl FnOnce(&mut Caller)) -> Request<T> {
    let mut caller = Caller {
        generated_key: Some(format!("auto-{}", random_secret().unwrap())),
        ..Caller::of_tests("alice")
    };
    change(&mut caller);
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller);
    request
}

fn fault<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>) -> Fault {
    Fault::from(&outcome.unwrap_err())
}
