//! Resyncs on the memory store, in paused time; those with pools of others in real time, over HTTP.
mod demanding;
mod driving;
mod elsewhere;
mod reload_test;
mod straying;

use parking_lot::Mutex as Lock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_decisions::register::{EntryBefore, StoredState, UnpushedEntries, plan};
use omnirelay_identity::caller::Caller;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::heartbeat::HeartbeatPace;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_scripted::{Faulty, PausedClock};
use omnirelay_store::*;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as control;
use omnirelay_wire::pb::omnirelay::store::v1::{AdvertisementValue, RegisterValue};
use omnirelay_wire::reasons;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::advertisements::pool::{Producer, ProducerPush, PushOutcome};
use crate::catalogue::{REGISTER, register_record};
use crate::metrics::PoolCounts;
use pb::advertisement_sync_state::Status;

static MIRRORED: [RecordKind; 1] = [REGISTER];
const NODE: &str = "node-1";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(300);

/// One push as the pool got it.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    items: Vec<String>,
    rest: UnpushedEntries,
}

/// A pool in memory that falls ill when a test wants it to.
#[derive(Default)]
struct FakePool {
    entries: Lock<BTreeMap<Producer, BTreeMap<String, AdvertisementValue>>>,
    pushes: Lock<Vec<Seen>>,
    /// Every push fails.
    ill: Lock<Option<String>>,
    /// These are refused.
    refuses: Lock<BTreeSet<String>>,
    /// How long each commit takes.
    commit: Lock<Duration>,
    /// Everything waits for the store.
    defers: Lock<bool>,
    /// The store cannot be compared with.
    unread: Lock<bool>,
    /// How often it was compared.
    compared: Lock<usize>,
    pushing: Lock<bool>,
    /// It was compared in the middle of a push.
    overlapped: Lock<bool>,
}

#[tonic::async_trait]
impl LocalPool for FakePool {
    fn held(&self, producer: &Producer) -> BTreeMap<String, EntryBefore> {
        let entries = self.entries.lock();
        let of = entries.get(producer).cloned().unwrap_or_default();
        of.into_iter().map(|(id, value)| (id, EntryBefore { value, stored: StoredState::Same })).collect()
    }

    async fn compare_with_store(&self) -> Result<bool, StoreError> {
        *self.compared.lock() += 1;
        *self.overlapped.lock() |= *self.pushing.lock();
        let unread = *self.unread.lock();
        if unread {
            Err(StoreError::Incompatible { what: "a record".to_owned(), record: None })
        } else {
            Ok(true)
        }
    }

    async fn push(&self, push: ProducerPush<'_>) -> Result<PushOutcome, Fault> {
        *self.pushing.lock() = true;
        let pushed = self.take(push).await;
        *self.pushing.lock() = false;
        pushed
    }
}

impl FakePool {
    async fn take(&self, push: ProducerPush<'_>) -> Result<PushOutcome, Fault> {
        let items = push.items.iter().map(|item| item.register_id.clone()).collect();
        self.pushes.lock().push(Seen { at: Instant::now(), items, rest: push.rest.clone() });
        if let Some(why) = self.ill.lock().clone() {
            return Err(Fault::new(reasons::STORE_UNAVAILABLE, why));
        }
        let refuses = self.refuses.lock().clone();
        let plan = plan(&self.held(&push.producer), push.items, &push.rest);
        let puts = plan.add.iter().map(|(id, value)| (id, Some(value), 0));
        let updates = plan.update.iter().map(|(id, value)| (id, Some(value), 1));
        let removals = plan.remove.iter().map(|id| (id, None, 2));
        let writes: Vec<_> = puts.chain(updates).chain(removals).collect();
        let mut done = [0; 3];
        let mut pushed =
            PushOutcome { processed: push.items.len(), unchanged: plan.unchanged, ..PushOutcome::default() };
        for (at, batch) in writes.chunks(push.batch).enumerate() {
            if (push.cancelled)() {
                pushed.cancelled = true;
                break;
            }
            let takes = *self.commit.lock();
            sleep(takes).await;
            for (id, value, sort) in batch {
                if refuses.contains(*id) {
                    let (reason, message) = ("STORE_FULL".to_owned(), "no room".to_owned());
                    pushed.failed.push(pb::ItemFailure { register_id: (*id).clone(), reason, message });
                    continue;
                }
                let mut entries = self.entries.lock();
                let of = entries.entry(push.producer.clone()).or_default();
                match value {
                    Some(value) => of.insert((*id).clone(), (*value).clone()),
                    None => of.remove(*id),
                };
                done[*sort] += 1;
            }
            (push.progress)((at * push.batch + batch.len()).min(writes.len()), writes.len());
        }
        [pushed.added, pushed.updated, pushed.removed] = done;
        if *self.defers.lock() {
            pushed.deferred = done.iter().sum();
        }
        Ok(pushed)
    }

    fn ids_of(&self, producer: &Producer) -> Vec<String> {
        self.entries.lock().get(producer).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    fn ids(&self) -> Vec<String> {
        self.ids_of(&Producer::catalogue())
    }

    fn pushes(&self) -> Vec<Seen> {
        self.pushes.lock().clone()
    }

    fn fall_ill(&self, why: Option<&str>) {
        *self.ill.lock() = why.map(str::to_owned);
    }

    /// Puts entries there that the catalogue knows nothing of.
    fn plant(&self, count: usize) {
        let mut entries = self.entries.lock();
        let of = entries.entry(Producer::catalogue()).or_default();
        of.extend((0..count).map(|at| (format!("stray-{at:03}"), AdvertisementValue::default())));
    }
}

/// A daemon without its listener. Dropping it is a crash.
struct Daemon {
    registry: Arc<Registry>,
    store: Arc<Faulty>,
    clock: PausedClock,
    pool: Arc<FakePool>,
    operations: Arc<Operations>,
    resync: Arc<Resync>,
    session: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// A daemon that is not registered yet.
async fn unregistered(peer_services: &[&str], every: Duration) -> Daemon {
    naming(peer_services, &[], every).await
}

/// The same, where a resync may name these pools besides.
async fn naming(peer_services: &[&str], resync_peers: &[&str], every: Duration) -> Daemon {
    let url = |url: &&str| peer_service(url).unwrap();
    let settings = ResyncSettings {
        resync_interval: INTERVAL,
        push_every: every,
        peer_services: peer_services.iter().map(url).map(|url| PeerService { url, cluster: None }).collect(),
        resync_peers: resync_peers.iter().map(url).collect(),
        peer_services_tls: ClientTlsConfig::default(),
    };
    of_settings(settings.into(), Arc::default()).await
}

/// The same with these settings, which judges others by `trust`.
async fn of_settings(settings: Live<ResyncSettings>, trust: Arc<MeshTrust>) -> Daemon {
    let clock = PausedClock(Instant::now());
    let store = Faulty::over(Arc::new(MemoryStore::new(clock)));
    let registry = lab::registry(NODE, store.clone(), &MIRRORED);
    let pace = HeartbeatPace { renew_every: MS * 500, grace: SECOND * 2 };
    let LabRegistry { registry, mut tasks } = LabRegistry::beating(registry, pace).await;
    let session = Arc::new(AtomicU64::new(0));
    let seen = session.clone();
    let (pool, operations) = (Arc::<FakePool>::default(), Arc::new(Operations::new(registry.clone())));
    let parts = ResyncParts {
        registry: registry.clone(),
        pool: pool.clone(),
        operations: operations.clone(),
        metrics: Arc::new(RegistersMetrics::new(&prometheus::Registry::new()).unwrap()),
        trust,
        reach: AddressReach::outside([("redis.internal".to_owned(), 6379)]),
        session: Arc::new(move || Some(seen.load(Ordering::Relaxed)).filter(|session| *session > 0)),
        count_pool: Arc::new(PoolCounts::default),
    };
    let resync = Arc::new(Resync::new(parts, settings));
    tasks.spawn(resync.clone().run());
    Daemon { registry, store, clock, pool, operations, resync, session, _tasks: tasks }
}

/// A daemon that has registered, and hosts these registers; those with a `-` before them it does not advertise.
async fn daemon(registers: &[&str]) -> Daemon {
    let daemon = unregistered(&[], INTERVAL).await;
    daemon.host(registers).await;
    daemon.register();
    until("it has pushed once", || daemon.local().status() == Status::Success).await;
    sleep(SECOND).await;
    daemon
}

impl Daemon {
    fn register(&self) {
        self.session.fetch_add(1, Ordering::Relaxed);
    }

    async fn host(&self, registers: &[&str]) {
        for id in registers {
            self.put(id.trim_start_matches('-'), !id.starts_with('-')).await;
        }
    }

    async fn put(&self, id: &str, advertise: bool) -> Revision {
        let value = RegisterValue { name: format!("name of {id}"), advertise, ..RegisterValue::default() };
        let id = register_record(NODE, id);
        let before = self.registry.view().get(&id).and_then(|found| found.value::<RegisterValue>());
        let value = before.map_or(value.clone(), |before| value.in_place_of(&before));
        let value = Bytes::from(value.encode_to_vec());
        self.commit(Write::Put { id, value, group: None }).await
    }

    async fn delete(&self, id: &str) -> Revision {
        self.commit(Write::Delete { id: register_record(NODE, id) }).await
    }

    async fn commit(&self, write: Write) -> Revision {
        let act = DaemonAct::new("tests.write", [write.id().kind.clone()], WriteAuthority::Unfenced);
        match self.registry.attempt(&act, CommitPlan::default().write([write])).await.unwrap() {
            CommitOutcome::Done(entry) => entry.revision,
            CommitOutcome::Replayed { revision, .. } => revision,
        }
    }

    /// Puts another store in the place of the present one, and waits until the view shows its epoch.
    async fn fail_over(&self, next: Arc<MemoryStore>) {
        let epoch = next.pulse(Pulse::default()).await.unwrap().epoch;
        self.store.swap(next);
        self.registry.view().connectivity().note_epoch(epoch);
        until("the view is another", || self.registry.view().head().epoch == epoch).await;
    }

    fn local(&self) -> pb::AdvertisementSyncState {
        self.resync.state().targets[0].clone()
    }

    async fn demand(&self, request: pb::ResyncRequest) -> Result<pb::ResyncResponse, Fault> {
        self.demand_as("alice", None, request).await
    }

    async fn demand_as(
        &self,
        principal: &str,
        key: Option<&str>,
        request: pb::ResyncRequest,
    ) -> Result<pb::ResyncResponse, Fault> {
        let caller = Caller { idempotency_key: key.map(str::to_owned), ..Caller::of_tests(principal) };
        self.resync.demand(&caller, request).await
    }

    /// Waits for the end of the operation that an answer tells of.
    async fn ended(&self, answer: &pb::ResyncResponse) -> control::Operation {
        let id = &answer.operation.as_ref().unwrap().operation_id;
        let mut followed = self.operations.follow(id).unwrap();
        loop {
            let now = followed.now();
            if omnirelay_node::operations::has_ended(&now) {
                return now;
            }
            followed.changed().await;
        }
    }

    async fn audit_records(&self) -> usize {
        let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 100 };
        self.registry.store().scan(scan).await.unwrap().records.len()
    }
}

/// A store that has begun anew and holds these registers; those with a `-` before them are not advertised.
async fn begun_anew(clock: PausedClock, registers: &[&str]) -> Arc<MemoryStore> {
    let next = Arc::new(MemoryStore::new(clock));
    let epoch = next.pulse(Pulse::default()).await.unwrap().epoch;
    for given in registers {
        let id = given.trim_start_matches('-');
        let advertise = *given == id;
        let value = RegisterValue { name: format!("name of {id}"), advertise, ..RegisterValue::default() };
        let value = Bytes::from(value.encode_to_vec());
        let writes = vec![Write::Put { id: register_record(NODE, id), value, group: None }];
        next.commit(Commit { epoch, writes, writer: NODE.into(), ..Commit::default() }).await.unwrap();
    }
    next
}

/// Waits for something that must come to be, whether time is paused or not.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let (begun, really) = (Instant::now(), std::time::Instant::now());
    while !holds() {
        let patient = begun.elapsed() < INTERVAL + INTERVAL / 2 && really.elapsed() < SECOND * 20;
        assert!(patient, "never: {what}");
        sleep(MS * 5).await;
    }
}

fn ids<T: AsRef<str>>(ids: &[T]) -> Vec<&str> {
    ids.iter().map(AsRef::as_ref).collect()
}
