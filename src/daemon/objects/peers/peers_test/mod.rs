//! Peers on the memory store, in paused time: several daemons, one mesh.
mod changes;
mod judging;
mod outages;
mod presence;
mod reads;
mod restoring;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use omnirelay_store::*;
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use super::presence::{Presence, PresenceSettings};
use super::*;
use crate::daemon::chance::random_secret;
use crate::daemon::identity::caller::{Caller, IfMatch};
use crate::daemon::presence::keep_present;
use crate::daemon::registry::audit_record::AUDIT;
use crate::daemon::registry::faulty::PausedClock;
use crate::daemon::registry::follow::{follow_log, wait_for};
use pb::peer::Status as PeerStatus;
use pb::peer_control_service_server::PeerControlService as _;

static MIRRORED: [Kind; 1] = [PEER];
const TTL: Duration = Duration::from_secs(2);

/// Counts the calls of a store that are made for reads and changes, not for heartbeats.
struct Counting {
    inner: MemoryStore,
    calls: AtomicUsize,
    /// True: heartbeats fail.
    mute: AtomicBool,
}

#[tonic::async_trait]
impl Store for Counting {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn pulse(&self, pulse: Pulse) -> Result<Beat, StoreError> {
        if self.mute.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("mute".into()));
        }
        self.inner.pulse(pulse).await
    }
    async fn open_group(&self, open: OpenGroup) -> Result<Opened, StoreError> {
        self.inner.open_group(open).await
    }
    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.inner.close_group(epoch, group).await
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(commit).await
    }
    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, Committed)>, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.recall(key).await
    }
    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.scan(scan).await
    }
    async fn leases(&self) -> Result<Leases, StoreError> {
        self.inner.leases().await
    }
    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        if wait.is_zero() {
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.log(after, limit, wait).await
    }
    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<Housekept, StoreError> {
        self.inner.housekeep(epoch, keep).await
    }
}

fn store() -> Arc<Counting> {
    let inner = MemoryStore::new(PausedClock(Instant::now()));
    Arc::new(Counting { inner, calls: AtomicUsize::new(0), mute: AtomicBool::new(false) })
}

/// A daemon without its listener. Dropping it is a crash.
struct Daemon {
    peers: Peers,
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    tasks: JoinSet<()>,
}

async fn daemon<S: Store>(store: &Arc<S>, node_id: &str, secret: &str) -> Daemon {
    let registry = Arc::new(Registry::new(node_id, store.clone(), &MIRRORED).restoring(&MIRRORED, TTL));
    let settings = PresenceSettings {
        session_ttl: TTL,
        dead_after: TTL * 5,
        forget_after: Duration::from_secs(3600),
        session_secret: secret.to_owned(),
    };
    let labels = BTreeMap::from([("tier".to_owned(), "std".to_owned())]);
    let profile = pb::PeerMetadata { role: "worker".to_owned(), labels, ..Default::default() };
    let presence = Arc::new(Presence::new(registry.clone(), settings, profile));
    let mut tasks = JoinSet::new();
    tasks.spawn(follow_log(registry.clone()));
    tasks.spawn(keep_present(registry.clone(), presence.clone(), TTL / 4));
    wait_for(registry.view(), Revision(0)).await;
    let peers = Peers::new(registry.clone(), 100);
    Daemon { peers, registry, presence, tasks }
}

/// A daemon that has registered.
async fn joined<S: Store>(store: &Arc<S>, node_id: &str) -> Daemon {
    let daemon = daemon(store, node_id, node_id).await;
    while status_of(&daemon, node_id) != Some(PeerStatus::Alive) {
        sleep(Duration::from_millis(10)).await;
    }
    daemon
}

fn shown(daemon: &Daemon, node_id: &str) -> Option<pb::Peer> {
    let record = daemon.registry.view().get(&peer_id(node_id))?;
    Some(peer(daemon.registry.view(), &record))
}

fn status_of(daemon: &Daemon, node_id: &str) -> Option<PeerStatus> {
    shown(daemon, node_id).map(|peer| peer.status())
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

fn cordon(node_id: &str, reason: &str) -> pb::CordonPeerRequest {
    pb::CordonPeerRequest { node_id: node_id.to_owned(), reason: reason.to_owned(), ..Default::default() }
}

fn reason_of<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>) -> String {
    Fault::from(&outcome.unwrap_err()).reason.into_owned()
}

async fn list(daemon: &Daemon, request: pb::ListPeersRequest) -> pb::ListPeersResponse {
    daemon.peers.list(called(request, |_| {})).await.unwrap().into_inner()
}

fn ids(response: &pb::ListPeersResponse) -> Vec<&str> {
    response.peers.iter().map(|peer| peer.node_id.as_str()).collect()
}

async fn audit_records(store: &Counting) -> usize {
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
    store.inner.scan(scan).await.unwrap().records.len()
}
