//! World of a simulation: two clusters with their stores, what the active one has had at each commit, and judges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_cluster_records::domain::{
    DOMAIN, DOMAIN_FOLLOWER, DomainKind, DomainVersion, NamespacePlace, REPLICA, domain_id,
};
use omnirelay_cluster_records::{CLUSTER, cluster_id};
use omnirelay_identity::caller::Caller;
use omnirelay_leadership_records::ScopeFences;
use omnirelay_nouns::feed::WatchPlaces;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::heartbeat::HeartbeatPace;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_registry::parse_cursor;
use omnirelay_scripted::PausedClock;
use omnirelay_store::{
    Commit, CommitOutcome, Epoch, GroupId, LeaseFence, LeaseOp, MemoryStore, OpenedGroup, Record, RecordId,
    RecordKind, Revision, Scan, Store, Write,
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
use super::network::{SimulatedNetwork, SimulatedWays};
use crate::domain_gate::DomainGate;
use crate::domains::change::DomainChanges;

const THING: RecordKind = RecordKind::of("thing");
const SCOPE: &str = "global-control";
const TTL: Duration = Duration::from_secs(100_000);
const SECOND: Duration = Duration::from_secs(1);
/// How many records of a domain a comparison deletes by itself, of so few as there are here.
const DELETED_FREELY: usize = 10;

/// Records by their keys: what two clusters compare.
pub(super) type Things = BTreeMap<String, (u64, u64, Bytes)>;

/// Lease of the node that leads, if it does.
#[derive(Default)]
struct Lead(Mutex<Option<LeaseFence>>);

impl ScopeFences for Lead {
    fn fence(&self, _: &str) -> Option<LeaseFence> {
        self.0.lock().clone()
    }
}

/// Cluster of a simulation.
pub(super) struct SimulatedCluster {
    name: &'static str,
    pub store: Arc<MemoryStore>,
    pub registry: Arc<Registry>,
    comparer: ClusterComparer,
    _tasks: JoinSet<()>,
}

/// Two clusters: west follows east.
pub(super) struct World {
    clock: PausedClock,
    network: Arc<SimulatedNetwork>,
    pub east: SimulatedCluster,
    pub west: SimulatedCluster,
    /// What east had after each commit that wrote a thing, and when it began an epoch.
    had: BTreeMap<(Epoch, Revision), Things>,
    /// Keys that somebody has deleted in east.
    deleted: BTreeSet<String>,
    /// What west has durably said to be here, the latest.
    acknowledged: Arc<Mutex<Option<String>>>,
    /// Whether an operator has let pass what was braked.
    is_approved: bool,
    seen: Things,
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
        let lab = LabRegistry::beating(lab::registry(node.as_str(), store.clone(), &mirrored), pace).await;
        let LabRegistry { registry, mut tasks } = lab;
        registry.write_gate().add(Arc::new(DomainGate { cluster: name.to_owned(), kinds: kinds() }));
        let ways = Arc::new(SimulatedWays(network.clone()));
        let lead = Arc::new(Lead::default());
        *lead.0.lock() = Some(lease(&registry, &store).await);
        let comparer = ClusterComparer::new(registry.clone(), name.to_owned(), kinds(), ways.clone());
        let follower = DomainFollower::new(registry.clone(), name.to_owned(), kinds(), lead, ways);
        tasks.spawn(async move { follower.run().await });
        let source = ReplicationSource::new(registry.clone(), name.to_owned(), kinds(), WatchPlaces::new(8));
        network.put(name, Some(Arc::new(source)));
        Self { name, store, registry, comparer, _tasks: tasks }
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

/// Takes the lease of the scope for a node that has just started: whoever had it before has it no more.
async fn lease(registry: &Registry, store: &MemoryStore) -> LeaseFence {
    loop {
        let id = GroupId(format!("session/{:016x}", fastrand::u64(..)));
        let opened = registry.open_session(id, TTL, "node").await.unwrap();
        let OpenedGroup::Open(session) = opened else { panic!("{opened:?}") };
        let epoch = registry.view().head().epoch;
        let held = store.leases().await.unwrap().leases;
        let before = held.into_iter().find(|lease| lease.scope == SCOPE && !lease.released);
        let release = before.map(|lease| LeaseOp::Release { scope: lease.scope, token: lease.token });
        let acquire = LeaseOp::Acquire { scope: SCOPE.to_owned(), holder: session.of, token_floor: 0 };
        let leases = release.into_iter().chain([acquire]).collect();
        if let Ok(CommitOutcome::Done(entry)) =
            store.commit(Commit { epoch, leases, ..Commit::default() }).await
        {
            let token = entry.leases.iter().map(|lease| lease.token).max().unwrap_or_default();
            return LeaseFence { scope: SCOPE.to_owned(), token };
        }
        sleep(SECOND).await;
    }
}

/// The things of a store, its replica of the domain, and its head, all of one moment.
pub(super) async fn things(
    store: &MemoryStore,
    clock: PausedClock,
) -> (Cursor, Things, Option<DomainReplicaValue>) {
    let copy = store.replica(clock);
    let scan = async |kind: RecordKind| {
        let (mut all, mut after) = (Vec::<Record>::new(), None);
        loop {
            let page = Scan { kind: kind.clone(), after, backwards: false, limit: 100 };
            let page = copy.scan(page).await.unwrap();
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
        let acknowledged = Arc::new(Mutex::new(None));
        let heard = acknowledged.clone();
        let hears = move |durable: &str| *heard.lock() = Some(durable.to_owned());
        let network = SimulatedNetwork::new(Duration::from_millis(5), Box::new(hears));
        let [east, west] = [0, 1].map(|_| Arc::new(MemoryStore::new(clock)));
        let east = SimulatedCluster::start("east", east, &network).await;
        sleep(Duration::from_millis(7)).await;
        let west = SimulatedCluster::start("west", west, &network).await;
        east.found("west").await;
        west.found("east").await;
        let (had, deleted) = (BTreeMap::new(), BTreeSet::new());
        let seen = Things::new();
        let mut world =
            Self { clock, network, east, west, had, deleted, acknowledged, is_approved: false, seen };
        world.note().await;
        world
    }

    pub(super) fn network(&self) -> &SimulatedNetwork {
        &self.network
    }

    /// Notes what east has now.
    pub(super) async fn note(&mut self) {
        let (head, things, _) = things(&self.east.store, self.clock).await;
        self.had.insert((head.epoch, head.revision), things);
    }

    /// Makes one commit in east.
    pub(super) async fn change(&mut self, chance: &mut fastrand::Rng) {
        let mut writes = BTreeMap::new();
        for _ in 0..chance.usize(1..4) {
            let key = format!("{}/{}", ["a", "b"][chance.usize(0..2)], chance.u32(0..60));
            let id = RecordId::new(THING, key.as_str());
            let write = if chance.u32(0..4) == 0 {
                self.deleted.insert(key.clone());
                Write::Delete { id }
            } else {
                Write::Put { id, value: Bytes::from(format!("{:x}", chance.u64(..))), group: None }
            };
            writes.insert(key, write);
        }
        self.east.write(writes.into_values().collect()).await;
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
        if is_other {
            *self.acknowledged.lock() = None;
            self.seen.clear();
        }
        self.network.put("west", None);
        self.west = SimulatedCluster::start("west", store, &self.network).await;
        if self.west.registry.view().get(&domain_id("mesh")).is_none() {
            self.west.found("east").await;
        }
    }

    pub(super) fn empty(&self) -> MemoryStore {
        MemoryStore::new(self.clock)
    }

    /// Judges what is in west's store now; whether it says that it follows, and has what east has.
    pub(super) async fn judge(&mut self) -> Result<bool, String> {
        let (_, here, replica) = things(&self.west.store, self.clock).await;
        let (head, there, _) = things(&self.east.store, self.clock).await;
        let Some(replica) = replica else { return Ok(false) };
        let applied = (Epoch(replica.epoch), Revision(replica.applied));
        if let Some(durable) = self.acknowledged.lock().clone() {
            let durable = parse_cursor(&durable).ok().flatten().unwrap_or_default();
            if durable.epoch == applied.0 && durable.revision > applied.1 {
                return Err(format!("{durable} is acknowledged, and {} is here", applied.1.0));
            }
        }
        let gone = self.seen.keys().filter(|key| !here.contains_key(*key) && !self.deleted.contains(*key));
        let gone = gone.count();
        if !self.is_approved && gone > DELETED_FREELY {
            return Err(format!("{gone} records are gone that nobody has deleted"));
        }
        self.seen.clone_from(&here);
        if replica.state() != State::Following {
            return Ok(false);
        }
        let before = self.had.range(..=applied).next_back().filter(|((epoch, _), _)| *epoch == applied.0);
        let Some((_, had)) = before else {
            return Err(format!("it follows at {applied:?}, which is no commit of east"));
        };
        if *had != here {
            let differ: Vec<_> = had.iter().filter(|(key, thing)| here.get(*key) != Some(thing)).collect();
            let more: Vec<_> = here.keys().filter(|key| !had.contains_key(*key)).collect();
            return Err(format!("it follows at {applied:?}, and differs: {differ:?} and {more:?}"));
        }
        Ok(here == there && applied == (head.epoch, applied.1))
    }

    /// Words about how both stand.
    pub(super) async fn told(&self) -> String {
        let (head, there, _) = things(&self.east.store, self.clock).await;
        let (at, here, replica) = things(&self.west.store, self.clock).await;
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
        let (_, _, replica) = things(&self.west.store, self.clock).await;
        if replica.is_none_or(|replica| replica.state() != State::Braked) {
            return;
        }
        let operator = Caller::of_tests("ann");
        if is_healed {
            let _ = self.east.comparer.heal(&operator, ("mesh", "west"), ("lost", false, None)).await;
            self.note().await;
        } else {
            self.is_approved = true;
            let changes = DomainChanges { registry: &self.west.registry, cluster: "west" };
            let asked = pb::ApproveDomainRequest { domain: "mesh".to_owned(), ..Default::default() };
            let _ = changes.approve_one(&operator, asked).await;
        }
    }
}
