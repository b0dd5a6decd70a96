//! Registers on the memory store, in paused time: several daemons, one mesh.
mod batches;
mod changes;
mod imports;
mod reading;
mod restoring;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::chance::random_secret;
use omnirelay_identity::caller::{Caller, IfMatch};
use omnirelay_node::CapabilityKinds;
use omnirelay_node::lab::{Lab, LabNode};
use omnirelay_peer_records::presence::Presence;
use omnirelay_peers::{StartupAnnouncement, mount_alone};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_scripted::{EVERY_CALL, Faulty, Ill, Method, PausedClock, memory};
use omnirelay_store::*;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use super::*;
use crate::advertisements::pool::PoolSettings;

const ALL_KINDS: &[CapabilityKinds] = &[omnirelay_peers::KINDS, omnirelay_restoration::KINDS, crate::KINDS];
const TTL: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);

/// A node that hosts registers, and advertises none by itself.
struct Daemon {
    registers: Registers,
    registry: Arc<Registry>,
    /// Says how far the catalogue is in the pool.
    pushed: watch::Sender<Revision>,
    presence: Arc<Presence>,
    _node: LabNode,
}

/// A daemon that has registered.
async fn daemon(store: Arc<dyn Store>, node_id: &str) -> Daemon {
    let (node, presence) = Lab::on(store, node_id).kinds(ALL_KINDS).with(|node| {
        omnirelay_restoration::mount(node);
        mount_alone(node, StartupAnnouncement::default())
    });
    let node = node.start();
    node.registered().await;
    let registry = node.registry.clone();
    let settings = PoolSettings { ttl: TTL * 100, grace: TTL, secret: node_id.to_owned() };
    let pool = Arc::new(Pool::new(registry.clone(), settings, || false));
    let (pushed, through) = watch::channel(Revision(0));
    let registers = Registers::new(registry.clone(), pool, through);
    Daemon { registers, registry, pushed, presence, _node: node }
}

/// A daemon on a store of its own.
async fn alone() -> (Arc<MemoryStore>, Daemon) {
    let store = memory();
    let daemon = daemon(store.clone(), "a").await;
    (store, daemon)
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

fn keyed(key: &str) -> impl FnOnce(&mut Caller) {
    let key = key.to_owned();
    move |caller| caller.idempotency_key = Some(key)
}

fn fault<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>) -> Fault {
    Fault::from(&outcome.unwrap_err())
}

fn reason_of<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>) -> String {
    fault(outcome).reason.into_owned()
}

fn new(register_id: &str) -> pb::CreateRegisterRequest {
    pb::CreateRegisterRequest { register_id: register_id.to_owned(), ..Default::default() }
}

fn update(register_id: &str) -> pb::UpdateRegisterRequest {
    pb::UpdateRegisterRequest { register_id: register_id.to_owned(), ..Default::default() }
}

fn delete(register_id: &str) -> pb::DeleteRegisterRequest {
    pb::DeleteRegisterRequest { register_id: register_id.to_owned(), ..Default::default() }
}

fn item(register_id: &str) -> pb::ImportedRegister {
    pb::ImportedRegister { register_id: register_id.to_owned(), ..Default::default() }
}

/// `count` items whose ids sort as their numbers do.
fn items(count: usize) -> Vec<pb::ImportedRegister> {
    (0..count).map(|at| item(&format!("r{at:06}"))).collect()
}

fn import(registers: Vec<pb::ImportedRegister>) -> pb::ImportRegistersRequest {
    pb::ImportRegistersRequest { registers, ..Default::default() }
}

async fn created(daemon: &Daemon, request: pb::CreateRegisterRequest) -> pb::RegisterChange {
    daemon.registers.create(called(request, |_| {})).await.unwrap().into_inner()
}

async fn updated(daemon: &Daemon, request: pb::UpdateRegisterRequest) -> pb::RegisterChange {
    daemon.registers.update(called(request, |_| {})).await.unwrap().into_inner()
}

async fn imported(daemon: &Daemon, request: pb::ImportRegistersRequest) -> pb::ImportRegistersResponse {
    daemon.registers.import(called(request, |_| {})).await.unwrap().into_inner()
}

fn ids(daemon: &Daemon, node_id: &str) -> Vec<String> {
    catalogue(daemon.registry.view(), node_id).into_iter().map(|(id, _)| id).collect()
}

fn value(daemon: &Daemon, node_id: &str, register_id: &str) -> Option<Arc<RegisterValue>> {
    daemon.registry.view().get(&register_record(node_id, register_id))?.value()
}

/// The audit records in the order of their commits.
async fn audited(store: &dyn Store) -> Vec<AuditValue> {
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
    let mut records = store.scan(scan).await.unwrap().records;
    records.sort_by_key(|record| record.revision);
    records.into_iter().map(|record| AuditValue::decode(record.value).unwrap()).collect()
}
