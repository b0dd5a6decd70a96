//! World of a simulation: two clusters with their stores, and what the active one has had at each commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use omnirelay_cluster_records::domain::{
    DOMAIN, DOMAIN_FOLLOWER, DomainKind, DomainVersion, NamespacePlace, REPLICA, domain_id,
};
use omnirelay_cluster_records::{CLUSTER, cluster_id};
use omnirelay_core::time::Millis;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::feed::WatchPlaces;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::heartbeat::HeartbeatPace;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_registry::parse_cursor;
use omnirelay_scripted::PausedClock;
use omnirelay_store::{
    Clock as _, CommitOutcome, Epoch, LeaseFence, MemoryStore, Record, RecordId, RecordKind, Retention,
    Revision, Scan, Store, Write,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::domain_replica_value::State;
use omnirelay_wire::pb::omnirelay::store::v1::{ClusterValue, DomainReplicaValue, DomainValue};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::heal::ClusterComparer;
use super::super::{DomainFollower, ReplicationSource};
use super::lead::{Lead, lease, run_lives};
use super::network::{SimulatedNetwork, SimulatedWays};
use super::store::{SimulatedStore, refused};
use crate::domain_gate::DomainGate;
use crate::domains::change::DomainChanges;

const THING: RecordKind = RecordKind::of("thing");
const SECOND: Duration = Duration::from_secs(1);

/// Records by their keys: what two clusters compare.
pub(super) type Things = BTreeMap<String, (u64, u64, Bytes)>;

/// Cluster of a simulation.
pub(super) struct SimulatedCluster {
    name: &'static str,
    pub store: Arc<MemoryStore>,
    pub registry: Arc<Registry>,
    lead: Arc<Lead>,
    /// After how many polls the follower ends where it waits; 0: it goes on.
    pub ends_after: Arc<AtomicU32>,
    comparer: ClusterComparer,
    tasks: JoinSet<()>,
}

/// Stores that west has had, the present one last, and what was acknowledged that was in none of the last two.
#[derive(Default)]
pub(super) struct AcknowledgedState {
    stores: Vec<Arc<MemoryStore>>,
    pub broken: Option<String>,
}

impl AcknowledgedState {
    /// Takes in what is said to be durable, as it is said.
    fn hear(&mut self, durable: &str) {
        let durable = parse_cursor(durable).ok().flatten().unwrap_or_default();
        let applied = |store: &Arc<MemoryStore>| {
            let page = Scan { kind: REPLICA, after: None, backwards: false, limit: 1 };
            let page = store.scan(page).now_or_never()?.ok()?;
            let value = DomainReplicaValue::decode(&*page.records.first()?.value).ok()?;
            Some((Epoch(value.epoch), Revision(value.applied)))
        };
        let known: Vec<_> = self.stores.iter().rev().take(2).filter_map(applied).collect();
        if !known.iter().any(|(epoch, applied)| (*epoch, *applied) >= (durable.epoch, durable.revision)) {
            self.broken = Some(format!("{durable} is acknowledged, and {known:?} is durable"));
        }
    }
}

/// Moment at which another node has taken the lead of west: whoever had it before writes nothing from then on.
pub(super) struct LostLead {
    /// What the next to lead writes by.
    fence: LeaseFence,
    pub things: Things,
    pub applied: Option<(u64, u64)>,
}

/// Two clusters: west follows east.
pub(super) struct World {
    pub clock: PausedClock,
    network: Arc<SimulatedNetwork>,
    pub east: SimulatedCluster,
    pub west: SimulatedCluster,
    /// What east had after each commit that wrote a thing, and when it began an epoch; and when that was.
    pub had: BTreeMap<(Epoch, Revision), (Instant, Things)>,
    /// Keys that somebody has deleted in east, and when that was last.
    pub deleted: BTreeMap<String, Millis>,
    /// What west has durably said to be here.
    pub acknowledged: Arc<Mutex<AcknowledgedState>>,
    /// Whether an operator has let pass what was braked, and it is not followed on yet.
    pub is_approved: bool,
    pub lost_lead: Option<LostLead>,
    pub seen: Things,
    /// What the judges have met so far.
    pub met: BTreeSet<&'static str>,
}

fn kinds() -> Arc<[DomainKind]> {
    let namespace = NamespacePlace::Key(|key| key.split('/').next().unwrap_or_default().to_owned());
    [DomainKind { kind: THING, namespace: Some(namespace) }].into()
}

impl SimulatedCluster {
    async fn start(name: &'static str, store: Arc<MemoryStore>, network: &Arc<SimulatedNetwork>) -> Self {
        let mirrored = [CLUSTER, DOMAIN, REPLICA, DOMAIN_FOLLOWER, THING];
        let node = format!("{name}-1");
        let pace = HeartbeatPace { renew_every: SECOND, grace: SECOND };
        let shared = Arc::new(SimulatedStore(store.clone()));
        let lab = LabRegistry::beating(lab::registry(node.as_str(), shared, &mirrored), pace).await;
        let LabRegistry { registry, mut tasks } = lab;
        registry.write_gate().add(Arc::new(DomainGate { cluster: name.to_owned(), kinds: kinds() }));
        let ways = Arc::new(SimulatedWays(network.clone()));
        let lead = Arc::new(Lead::default());
        *lead.0.lock() = Some(lease(&registry, &store).await);
        let comparer = ClusterComparer::new(registry.clone(), name.to_owned(), kinds(), ways.clone());
        let follower = DomainFollower::new(registry.clone(), name.to_owned(), kinds(), lead.clone(), ways);
        let ends_after = Arc::<AtomicU32>::default();
        tasks.spawn(run_lives(follower, ends_after.clone()));
        let source = ReplicationSource::new(registry.clone(), name.to_owned(), kinds(), WatchPlaces::new(8));
        network.put(name, Some(Arc::new(source)));
        Self { name, store, registry, lead, ends_after, comparer, tasks }
    }

    async fn write(&self, writes: Vec<Write>) {
        let kinds = [CLUSTER, DOMAIN, THING];
        let act = DaemonAct::new("things.put", kinds, WriteAuthority::Unfenced);
        let done = self.registry.attempt(&act, CommitPlan::default().write(writes)).await;
        assert!(matches!(done, Ok(CommitOutcome::Done(_))), "{}: {done:?}", self.name);
    }

    /// Says where the domain is active, and where the other cluster is, in a store where nobody has.
    async fn found(&self, other: &str) {
        let version = DomainVersion { term: 1, raised_by: "east".to_owned() };
        let mesh =
            DomainValue { active: "east".to_owned(), version: Some(version.value()), ..Default::default() };
        let at = ClusterValue { replication_endpoints: vec!["here:1".to_owned()], ..Default::default() };
        self.write(vec![put(cluster_id(other), &at), put(domain_id("mesh"), &mesh)]).await;
    }
}

/// The things of a store, its replica of the domain, and its head, all of one moment: a store in memory lets nobody else run meanwhile.
pub(super) async fn things(store: &MemoryStore) -> (Cursor, Things, Option<DomainReplicaValue>) {
    let scan = async |kind: RecordKind| {
        let (mut all, mut after) = (Vec::<Record>::new(), None);
        loop {
            let page = Scan { kind: kind.clone(), after, backwards: false, limit: 100 };
            let page = store.scan(page).await.unwrap();
            all.extend(page.records);
            after = all.last().map(|record| record.id.key.clone());
            if !page.more {
                return (Cursor::at(page.epoch, page.head), all);
            }
        }
    };
    let (head, found) = scan(THING).await;
    let kept = found.into_iter().filter(|record| !record.deleted);
    let things = kept.map(|record| (record.id.key, (record.version.0, record.updated_at.0, record.value)));
    let things = things.collect();
    let replica = scan(REPLICA).await.1.into_iter().find(|record| record.id.key == "mesh");
    (head, things, replica.map(|record| DomainReplicaValue::decode(&*record.value).unwrap()))
}

impl World {
    pub(super) async fn start() -> Self {
        let clock = PausedClock(Instant::now());
        let acknowledged = Arc::new(Mutex::new(AcknowledgedState::default()));
        let heard = acknowledged.clone();
        let network = SimulatedNetwork::new(Box::new(move |durable| heard.lock().hear(durable)));
        let [east, west] = [0, 1].map(|_| Arc::new(MemoryStore::new(clock)));
        acknowledged.lock().stores.push(west.clone());
        let east = SimulatedCluster::start("east", east, &network).await;
        sleep(Duration::from_millis(7)).await;
        let west = SimulatedCluster::start("west", west, &network).await;
        east.found("west").await;
        west.found("east").await;
        let (had, deleted) = (BTreeMap::new(), BTreeMap::new());
        let (is_approved, lost_lead, seen, met) = (false, None, Things::new(), BTreeSet::new());
        let mut world = Self {
            clock,
            network,
            east,
            west,
            had,
            deleted,
            acknowledged,
            is_approved,
            lost_lead,
            seen,
            met,
        };
        world.note().await;
        world
    }

    pub(super) fn network(&self) -> &SimulatedNetwork {
        &self.network
    }

    /// Notes what east has now.
    pub(super) async fn note(&mut self) {
        let (head, things, _) = things(&self.east.store).await;
        self.had.entry((head.epoch, head.revision)).or_insert((Instant::now(), things));
    }

    /// Makes one commit in east.
    pub(super) async fn change(&mut self, chance: &mut fastrand::Rng) {
        let mut writes = BTreeMap::new();
        for _ in 0..chance.usize(1..4) {
            let key = format!("{}/{}", ["a", "b"][chance.usize(0..2)], chance.u32(0..60));
            let id = RecordId::new(THING, key.as_str());
            let write = if chance.u32(0..4) == 0 {
                Write::Delete { id }
            } else {
                let number = chance.u64(..);
                let is_refused = chance.u32(0..25) == 0;
                let value = if is_refused { refused(number) } else { Bytes::from(format!("{number:x}")) };
                Write::Put { id, value, group: None }
            };
            writes.insert(key, write);
        }
        let is_deleted = |(key, write): (&String, &Write)| write.value().is_none().then(|| key.clone());
        let deleted: Vec<String> = writes.iter().filter_map(is_deleted).collect();
        self.east.write(writes.into_values().collect()).await;
        let now = self.clock.now();
        self.deleted.extend(deleted.into_iter().map(|key| (key, now)));
        self.note().await;
    }

    /// A copy of a store as it is now, from which it may be restored.
    pub(super) fn copy(&self, store: &MemoryStore) -> MemoryStore {
        store.replica(self.clock)
    }

    /// Restarts east on another store, in a new epoch, or on the one that it has.
    pub(super) async fn restart_east(&mut self, store: Option<MemoryStore>) {
        let store = store.map_or_else(
            || self.east.store.clone(),
            |store| {
                store.promote(Duration::ZERO);
                Arc::new(store)
            },
        );
        self.network.put("east", None);
        self.east = SimulatedCluster::start("east", store, &self.network).await;
        if self.east.registry.view().get(&domain_id("mesh")).is_none() {
            self.east.found("west").await;
        }
        self.note().await;
    }

    /// The same of west: whatever it was about to do is not done.
    pub(super) async fn restart_west(&mut self, store: Option<MemoryStore>) {
        let is_other = store.is_some();
        let store = store.map_or_else(
            || self.west.store.clone(),
            |store| {
                store.promote(Duration::ZERO);
                Arc::new(store)
            },
        );
        // Nobody of before writes into what is there now, or speaks of it.
        self.west.tasks.shutdown().await;
        self.lost_lead = None;
        if is_other {
            self.acknowledged.lock().stores.push(store.clone());
            self.seen.clear();
        }
        self.network.put("west", None);
        self.west = SimulatedCluster::start("west", store, &self.network).await;
        if self.west.registry.view().get(&domain_id("mesh")).is_none() {
            self.west.found("east").await;
        }
    }

    /// Has another node take the lead of west from the one that follows, which does not know it yet.
    pub(super) async fn lose_lead(&mut self) {
        let fence = lease(&self.west.registry, &self.west.store).await;
        let (_, things, replica) = things(&self.west.store).await;
        let applied = replica.map(|replica| (replica.epoch, replica.applied));
        self.lost_lead = Some(LostLead { fence, things, applied });
    }

    /// Has the node that follows know that it leads no more, or does again.
    pub(super) fn tell_lead(&mut self, leads: bool) {
        let Some(lost) = self.lost_lead.take() else { return };
        let fence = lost.fence.clone();
        *self.west.lead.0.lock() = leads.then_some(fence);
        self.lost_lead = (!leads).then_some(lost);
    }

    /// Ends what follows in west after so many polls.
    pub(super) fn end_follower(&self, polls: u32) {
        self.west.ends_after.store(polls, Ordering::Relaxed);
    }

    /// Trims the log of east, so that it has the last commits alone.
    pub(super) async fn trim(&self, entries: usize) {
        let epoch = self.east.registry.view().head().epoch;
        let day = Duration::from_secs(86_400);
        let keep = Retention {
            log_age: Duration::ZERO,
            log_entries_max: entries,
            tombstone_age: day,
            idempotency_age: day,
            idempotency_entries_max: 1000,
        };
        while self.east.store.housekeep(epoch, keep).await.is_ok_and(|done| done.more) {}
    }

    pub(super) fn empty(&self) -> MemoryStore {
        MemoryStore::new(self.clock)
    }

    /// Words about how both stand.
    pub(super) async fn told(&self) -> String {
        let (head, there, _) = things(&self.east.store).await;
        let (at, here, replica) = things(&self.west.store).await;
        let differ: Vec<_> = there
            .iter()
            .filter(|(key, thing)| here.get(*key) != Some(thing))
            .map(|(key, thing)| (key, thing, here.get(key)))
            .collect();
        let counts = format!("east has {} at {head}, west {} at {at}", there.len(), here.len());
        format!("{counts}: {replica:?}; {differ:?}")
    }

    /// Has an operator decide what is to be where west is braked.
    pub(super) async fn decide(&mut self, is_healed: bool) {
        let (_, _, replica) = things(&self.west.store).await;
        if replica.is_none_or(|replica| replica.state() != State::Braked) {
            return;
        }
        let operator = Caller::of_tests("ann");
        if is_healed {
            let _ = self.east.comparer.heal(&operator, ("mesh", "west"), ("lost", false, None)).await;
            self.note().await;
        } else {
            let changes = DomainChanges { registry: &self.west.registry, cluster: "west" };
            let asked = pb::ApproveDomainRequest { domain: "mesh".to_owned(), ..Default::default() };
            self.is_approved |= changes.approve_one(&operator, asked).await.is_ok();
        }
    }
}
