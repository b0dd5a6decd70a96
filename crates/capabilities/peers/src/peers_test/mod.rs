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
use omnirelay_host::chance::random_secret;
use omnirelay_identity::caller::{Caller, IfMatch};
use omnirelay_node::lab::{Lab, LabNode};
use omnirelay_peer_records::presence::Presence;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_scripted::{Answered, Call, PausedClock, Script, Scripted, memory};
use omnirelay_settings::{Config, HumanDuration};
use omnirelay_store::*;
use prost::Message as _;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use super::*;
use crate::mount::{StartupAnnouncement, mount_alone};
use pb::peer::Status as PeerStatus;
use pb::peer_control_service_server::PeerControlService as _;

const TTL: Duration = Duration::from_secs(2);

/// Counts the calls of a store that are made for reads and changes, not for heartbeats.
struct Counts {
    inner: Arc<MemoryStore>,
    calls: AtomicUsize,
    /// True: heartbeats fail.
    mute: AtomicBool,
}

type Counting = Scripted<Counts>;

#[tonic::async_trait]
impl Script for Counts {
    async fn pass(&self, call: Call) -> Answered {
        match &call {
            Call::Pulse(_) if self.mute.load(Ordering::Relaxed) => {
                return Err(StoreError::Unavailable("mute".into()).into());
            }
            Call::Log { wait, .. } if !wait.is_zero() => {}
            Call::Commit(_) | Call::Recall(_) | Call::Scan(_) | Call::Log { .. } => {
                self.calls.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        call.on(&*self.inner).await
    }
}

fn store() -> Arc<Counting> {
    Arc::new(Scripted(Counts { inner: memory(), calls: AtomicUsize::new(0), mute: AtomicBool::new(false) }))
}

/// A node that has peers and nothing else.
struct Daemon {
    peers: Peers,
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    node: LabNode,
}

async fn daemon<S: Store>(store: &Arc<S>, node_id: &str, secret: &str) -> Daemon {
    let profile = |config: &mut Config| {
        config.node.role = "worker".to_owned();
        config.node.labels = BTreeMap::from([("tier".to_owned(), "std".to_owned())]);
        config.peers.forget_after = Some(HumanDuration(Duration::from_secs(3600)));
    };
    let lab = Lab::on(store.clone(), node_id).secret(secret).config(profile);
    let (node, presence) = lab.kinds(&[crate::KINDS, omnirelay_restoration::KINDS]).with(|node| {
        omnirelay_restoration::mount(node);
        mount_alone(node, StartupAnnouncement::default())
    });
    let node = node.start();
    node.loaded().await;
    let peers = Peers::new(node.registry.clone(), 100, HeldByPeers::default());
    Daemon { peers, registry: node.registry.clone(), presence, node }
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
    daemon.peers.list(called(request, |_| {})).await.unwrap().into_inner().into_message()
}

fn ids(response: &pb::ListPeersResponse) -> Vec<&str> {
    response.peers.iter().map(|peer| peer.node_id.as_str()).collect()
}

async fn audit_records(store: &Counting) -> usize {
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
    store.inner.scan(scan).await.unwrap().records.len()
}
