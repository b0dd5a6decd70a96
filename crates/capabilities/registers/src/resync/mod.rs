//! Keeps what is advertised as the catalogue says, in this daemon's pool and in those of others.

mod demand;
mod drive;
mod foreign;
mod inbox;
mod lines;
mod local;
mod status;
mod target;

#[cfg(test)]
mod resync_test;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use omnirelay_core::text::shown;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::reach::AddressReach;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::operations::Operations;
use omnirelay_nouns::{envelope, head_cursor};
use omnirelay_registry::Registry;
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::watch::{Watch, WatchEvent};
use omnirelay_settings::{ClientTlsConfig, Config, PeerServiceConfig, peer_service};
use omnirelay_store::{Epoch, Revision};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::reasons;
use reqwest::Url;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::advertisements::Resyncs;
use crate::catalogue;
use crate::metrics::{CountPool, RegistersMetrics};
use demand::{QueuedResync, WAITING_MAX};
use drive::{ResyncProgress, TargetDriver};
use lines::PushLines;
pub use local::{LOCAL, LocalPool};

/// How often is looked whether the node is registered.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Lookup of the session in which the node is registered now; `None`: in none.
pub type SessionLookup = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// Settings of resyncs: how often is pushed, where to, and by which TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct ResyncSettings {
    /// How often the pool in this daemon is compared.
    pub resync_interval: Duration,
    /// How often pools of others are pushed to.
    pub push_every: Duration,
    pub peer_services: Vec<PeerService>,
    /// Pools of others that whoever may ask for a resync may name; their paths end with a slash.
    pub resync_peers: Vec<Url>,
    /// TLS with those of them that are of no federated cluster.
    pub peer_services_tls: ClientTlsConfig,
}

/// A pool of others that is kept up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerService {
    /// Its path ends with a slash.
    pub url: Url,
    /// The federated cluster that it is a node of; `None`: of none.
    pub cluster: Option<String>,
}

impl ResyncSettings {
    /// As a configuration says. Addresses that are none were refused with it.
    pub fn of(config: &Config) -> Self {
        let registers = &config.registers;
        let service = |service: &PeerServiceConfig| {
            let url = peer_service(service.url()).ok()?;
            Some(PeerService { url, cluster: service.cluster().map(str::to_owned) })
        };
        Self {
            resync_interval: registers.resync_interval.0,
            push_every: registers.push_every(),
            peer_services: registers.peer_services.iter().filter_map(service).collect(),
            resync_peers: registers.resync_peers.iter().filter_map(|peer| peer_service(peer).ok()).collect(),
            peer_services_tls: registers.peer_services_tls.clone(),
        }
    }
}

/// Parts that resyncs are made with.
pub struct ResyncParts {
    pub registry: Arc<Registry>,
    pub pool: Arc<dyn LocalPool>,
    pub operations: Arc<Operations>,
    pub metrics: Arc<RegistersMetrics>,
    /// By what pools of others are judged, and what they are shown.
    pub trust: Arc<MeshTrust>,
    /// Where others may be that an administrator names.
    pub reach: AddressReach,
    pub session: SessionLookup,
    pub count_pool: CountPool,
}

/// The driver of one daemon: pushes the catalogue by itself, and on demand.
pub struct Resync {
    parts: ResyncParts,
    settings: Live<ResyncSettings>,
    lines: PushLines,
    /// For pools that are no lines: one run at a time.
    elsewhere: Mutex<()>,
    through: watch::Sender<Revision>,
    jobs: mpsc::Sender<QueuedResync>,
    /// Places of those that wait for their turn.
    places: Arc<Semaphore>,
    waiting: Mutex<mpsc::Receiver<QueuedResync>>,
}

/// Triggers of a push at once: the state whose change is one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PushTriggers {
    session: Option<u64>,
    silent: bool,
    epoch: Epoch,
}

impl Resync {
    /// Nothing is pushed until [`Self::run`] is.
    pub fn new(parts: ResyncParts, settings: impl Into<Live<ResyncSettings>>) -> Self {
        let settings = settings.into();
        let lines = PushLines::new(&parts, &settings);
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        Self {
            parts,
            settings,
            lines,
            elsewhere: Mutex::default(),
            through: watch::Sender::new(Revision(0)),
            jobs,
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            waiting: Mutex::new(waiting),
        }
    }

    /// The newest commit of the node's catalogue that the pool in this daemon shows, in the present epoch.
    pub fn pushed_through(&self) -> watch::Receiver<Revision> {
        self.through.subscribe()
    }

    /// Every target, as it was by the end of its last run.
    pub fn shown(&self) -> Vec<pb::AdvertisementSyncState> {
        self.lines.all().iter().map(|line| line.status.shown()).collect()
    }

    /// Trouble that keeps the pools from being as the catalogue says.
    pub fn trouble(&self) -> Option<String> {
        let of_line = |line: &Arc<TargetDriver>| {
            let state = line.status.shown();
            let name = &state.target;
            match (state.failures, state.drifted) {
                (0, 0) => None,
                (0, 1) => Some(format!("the pool {name} has an advertisement that should go")),
                (0, drifted) => Some(format!("the pool {name} has {drifted} advertisements that should go")),
                (_, _) => Some(format!("the pool {name} cannot be brought up to date: {}", state.error)),
            }
        };
        let told: Vec<String> = self.lines.all().iter().filter_map(of_line).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Keeps all pools as the catalogue says, and carries out what is demanded, for ever.
    pub async fn run(self: Arc<Self>) {
        let demanded = self.clone().carry_out();
        let this = &*self;
        let driven = async {
            self.registered().await;
            let registry = &self.parts.registry;
            // From before the first reading on, so that no change is missed between the two.
            let changes = catalogue::watch_catalogue(registry.clone(), registry.node_id(), None);
            tokio::join!(this.drive_lines(), self.follow_catalogue(changes), self.look_for_returns())
        };
        tokio::join!(demanded, driven);
    }

    /// Drives all lines, those that the settings name by then.
    async fn drive_lines(&self) {
        let (mut settings, mut drives) = (self.settings.clone(), FuturesUnordered::new());
        drives.push(self.drive(self.lines.local()));
        self.lines.foreign_lines().into_iter().for_each(|line| drives.push(self.drive(line)));
        loop {
            let begun = self.lines.follow(&self.parts, &self.settings);
            begun.into_iter().for_each(|line| drives.push(self.drive(line)));
            tokio::select! {
                () = settings.replaced() => {}
                Some(()) = drives.next() => {}
            }
        }
    }

    async fn drive(&self, line: Arc<TargetDriver>) {
        let is_local = line.target.name() == LOCAL;
        let brought = |brought: &ResyncProgress| {
            if is_local {
                self.note_through(brought);
            }
        };
        line.drive(&self.parts.registry, brought).await;
        self.parts.metrics.forget(line.target.name());
    }

    /// Waits until the view has caught up and the node is registered.
    async fn registered(&self) {
        wait_for(self.parts.registry.view(), Revision(0)).await;
        while (self.parts.session)().is_none() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Tells the lines what changes in the catalogue.
    async fn follow_catalogue(&self, mut changes: Watch) {
        loop {
            match changes.next().await {
                WatchEvent::Added(step) | WatchEvent::Modified(step) | WatchEvent::Removed(step) => {
                    let Some((_, id)) = catalogue::parts(&step.record.record.id) else { continue };
                    let revision = step.entry.revision;
                    self.lines.all().iter().for_each(|line| line.inbox.change(id, revision));
                }
                WatchEvent::Reset(_) => self.push_all(),
                // What is there is pushed by the first run, or by that which a reset asked for.
                WatchEvent::Snapshot(_) | WatchEvent::Synced { .. } | WatchEvent::Progress { .. } => {}
            }
        }
    }

    /// Pushes all anew when the session is another one, an epoch has begun, or the store is heard again.
    async fn look_for_returns(&self) {
        let mut before = self.seen();
        let look = || {
            let now = self.seen();
            // Without a session there is nothing to do until there is the next.
            let now = PushTriggers { session: now.session.or(before.session), ..now };
            let returned = before.silent && !now.silent;
            if returned || now.session != before.session || now.epoch != before.epoch {
                self.push_all();
            }
            before = now;
            ready(None)
        };
        self.parts.registry.react(|_| self.seen(), look).await;
    }

    fn seen(&self) -> PushTriggers {
        let view = self.parts.registry.view();
        PushTriggers {
            session: (self.parts.session)(),
            silent: self.parts.registry.is_away(),
            epoch: view.head().epoch,
        }
    }

    fn push_all(&self) {
        self.lines.all().iter().for_each(|line| line.inbox.all_at_once());
    }

    fn note_through(&self, brought: &ResyncProgress) {
        self.through.send_if_modified(|through| {
            // Revisions may begin again in a new epoch, which is pushed in full.
            let newest =
                if brought.work.all { brought.head.revision } else { brought.work.through.max(*through) };
            std::mem::replace(through, newest) != newest
        });
    }

    /// Carries out what is demanded, each as soon as its pool is free.
    async fn carry_out(self: Arc<Self>) {
        let mut waiting = self.waiting.lock().await;
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                Some(job) = waiting.recv() => drop(running.spawn(self.clone().carry_out_one(job))),
                Some(_) = running.join_next() => {}
                else => return,
            }
        }
    }
}

#[tonic::async_trait]
impl Resyncs for Resync {
    async fn demand(&self, caller: &Caller, request: pb::ResyncRequest) -> Result<pb::ResyncResponse, Fault> {
        self.demand(caller, request).await
    }

    fn check_node(&self, node_id: &str) -> Result<(), Fault> {
        let own = self.parts.registry.node_id();
        if node_id.is_empty() || node_id == own {
            return Ok(());
        }
        let node = shown(node_id, 64);
        let message = format!("this is node `{own}`, and only `{node}` itself can do that");
        Err(Fault::new(reasons::OTHER_NODE, message)
            .hint("ask the daemon of that node; `omnirelay mesh peers get` says where it listens")
            .detail("nodeId", own))
    }

    fn has_pushed(&self) -> bool {
        *self.through.borrow() > Revision(0)
    }

    fn state(&self) -> pb::GetSyncStateResponse {
        let registry = &self.parts.registry;
        let envelope = envelope(registry);
        let catalogue = catalogue::catalogue(registry.view(), registry.node_id());
        let counts = (self.parts.count_pool)();
        pb::GetSyncStateResponse {
            cursor: head_cursor(registry.view()),
            targets: self.shown(),
            registers: target::count(catalogue.len()),
            advertise: target::count(catalogue.iter().filter(|(_, register)| register.advertise).count()),
            local: target::count(counts.local),
            remote: target::count(counts.remote),
            unverified: target::count(counts.unverified),
            deferred: target::count(counts.deferred),
            ..Default::default()
        }
        .within(envelope)
    }
}
