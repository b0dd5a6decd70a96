//! World of a simulation: clusters with their stores, and what the active ones have had at each commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use omnirelay_cluster_records::domain::{
    DOMAIN, DOMAIN_FOLLOWER, DomainKind, DomainVersion, NamespacePlace, REPLICA, domain_id,
};
use omnirelay_cluster_records::{CLUSTER, cluster_id};
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
use super::judge::JudgedDomain;
use super::lead::{FollowerEnds, SimulatedLead, lease, run_lives};
use super::network::{SimulatedNetwork, SimulatedWays};
use super::store::{SimulatedStore, StoreHistory, refused};
use crate::domain_gate::DomainGate;
use crate::domains::change::DomainChanges;

pub(super) const THING: RecordKind = RecordKind::of("thing");
/// Records that no view holds, one for each commit.
const HISTORY: RecordKind = RecordKind::of("thing-history");
/// How many of those there are at most.
const HISTORY_MAX: u64 = 200;
/// Names of all clusters that there may be.
pub(super) const CLUSTERS: [&str; 3] = ["east", "west", "north"];
const SECOND: Duration = Duration::from_secs(1);

/// Records by their keys: what two clusters compare.
pub(super) type Things = BTreeMap<String, (u64, u64, Bytes)>;

/// Cluster of a simulation.
pub(super) struct SimulatedCluster {
    pub name: &'static str,
    pub store: Arc<MemoryStore>,
    pub registry: Arc<Registry>,
    lead: Arc<SimulatedLead>,
    ends: Arc<FollowerEnds>,
    /// Of all stores that it has had.
    pub history: Arc<Mutex<StoreHistory>>,
    comparer: ClusterComparer,
    tasks: JoinSet<()>,
}

/// Stores that each cluster has had, the present one last, and what was acknowledged that was in none of the last two.
#[derive(Default)]
pub(super) struct AcknowledgedState {
    stores: BTreeMap<&'static str, Vec<Arc<MemoryStore>>>,
    broken: Option<String>,
}

impl AcknowledgedState {
    fn keep(&mut self, cluster: &'static str, store: Arc<MemoryStore>) {
        self.stores.entry(cluster).or_default().push(store);
    }

    /// Takes in what is said to be durable, as it is said.
    fn hear(&mut self, asked: &pb::AcknowledgeDomainRequest) {
        let durable = parse_cursor(&asked.durable).ok().flatten().unwrap_or_default();
        let applied = |store: &Arc<MemoryStore>| {
            let value = replica_of(store, &asked.domain).now_or_never()??;
            Some((Epoch(value.epoch), Revision(value.applied)))
        };
        let stores = self.stores.get(asked.cluster_id.as_str()).into_iter().flatten();
        let known: Vec<_> = stores.rev().take(2).filter_map(applied).collect();
        if !known.iter().any(|known| *known >= (durable.epoch, durable.revision)) {
            let domain = &asked.domain;
            self.broken = Some(format!("{domain}: {durable} is acknowledged, and {known:?} is durable"));
        }
    }
}

/// Moment at which another node has taken the lead of west: whoever had it before writes nothing from then on.
pub(super) struct LostLead {
    /// What the next to lead writes by.
    fence: LeaseFence,
    pub things: Arc<Things>,
    /// How far each domain was followed.
    pub applied: BTreeMap<&'static str, (u64, u64)>,
}

/// Two or three clusters: the others follow east, and in some runs they follow west in a second domain.
pub(super) struct SimulatedWorld {
    clock: PausedClock,
    network: Arc<SimulatedNetwork>,
    /// East, west, and in some runs north.
    clusters: Vec<SimulatedCluster>,
    domains: Vec<JudgedDomain>,
    acknowledged: Arc<Mutex<AcknowledgedState>>,
    /// How many commits were made.
    commits: u64,
    pub lost_lead: Option<LostLead>,
}

fn kinds() -> Arc<[DomainKind]> {
    let namespace = NamespacePlace::Key(|key| key.split('/').next().unwrap_or_default().to_owned());
    [THING, HISTORY].map(|kind| DomainKind { kind, namespace: Some(namespace) }).into()
}

impl SimulatedCluster {
    async fn start(
        name: &'static str,
        store: Arc<MemoryStore>,
        network: &Arc<SimulatedNetwork>,
        (history, ends): (Arc<Mutex<StoreHistory>>, Arc<FollowerEnds>),
    ) -> Self {
        let mirrored = [CLUSTER, DOMAIN, REPLICA, DOMAIN_FOLLOWER, THING];
        let node = format!("{name}-1");
        let pace = HeartbeatPace { renew_every: SECOND, grace: SECOND };
        let shared = Arc::new(SimulatedStore { memory: store.clone(), history: history.clone() });
        shared.note().await;
        let lab = LabRegistry::beating(lab::registry(node.as_str(), shared, &mirrored), pace).await;
        let LabRegistry { registry, mut tasks } = lab;
        registry.write_gate().add(Arc::new(DomainGate { cluster: name.to_owned(), kinds: kinds() }));
        let ways = Arc::new(SimulatedWays { from: name, network: network.clone() });
        let lead = Arc::new(SimulatedLead::default());
        *lead.0.lock() = Some(lease(&registry, &store).await);
        let comparer = ClusterComparer::new(registry.clone(), name.to_owned(), kinds(), ways.clone());
        let follower = DomainFollower::new(registry.clone(), name.to_owned(), kinds(), lead.clone(), ways);
        tasks.spawn(run_lives(follower, ends.clone()));
        let source = ReplicationSource::new(registry.clone(), name.to_owned(), kinds(), WatchPlaces::new(8));
        network.put(name, Some(Arc::new(source)));
        Self { name, store, registry, lead, ends, history, comparer, tasks }
    }

    /// Epoch and records as they are now.
    pub(super) fn now(&self) -> (Epoch, Arc<Things>) {
        let history = self.history.lock();
        let ((epoch, _), (_, things)) = history.last_key_value().unwrap();
        (*epoch, things.clone())
    }

    async fn write(&self, writes: Vec<Write>) {
        let kinds = [CLUSTER, DOMAIN, THING, HISTORY];
        let act = DaemonAct::new("things.put", kinds, WriteAuthority::Unfenced);
        let done = self.registry.attempt(&act, CommitPlan::default().write(writes)).await;
        assert!(matches!(done, Ok(CommitOutcome::Done(_))), "{}: {done:?}", self.name);
    }

    /// Says where domains are active, and where the other clusters are, in a store where nobody has.
    async fn found(&self, domains: &[JudgedDomain]) {
        let domain = |domain: &JudgedDomain| {
            let version = DomainVersion { term: 1, raised_by: domain.active.to_owned() };
            let own = domain.namespaces.iter().filter(|_| domain.name != "mesh");
            let value = DomainValue {
                active: domain.active.to_owned(),
                version: Some(version.value()),
                namespaces: own.map(|namespace| (*namespace).to_owned()).collect(),
                ..Default::default()
            };
            put(domain_id(domain.name), &value)
        };
        let at = ClusterValue { replication_endpoints: vec!["here:1".to_owned()], ..Default::default() };
        let others = CLUSTERS.iter().filter(|name| **name != self.name);
        let others = others.map(|name| (cluster_id(name), put(cluster_id(name), &at)));
        let domains = domains.iter().map(|of| (domain_id(of.name), domain(of)));
        let writes: BTreeMap<RecordId, Write> = others.chain(domains).collect();
        self.write(writes.into_values().collect()).await;
    }
}

/// The records of a kind, and the head of the store, of one moment: a store in memory lets nobody else run meanwhile.
async fn records(store: &MemoryStore, kind: RecordKind) -> (Cursor, Vec<Record>) {
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
}

/// Parts of a record that two clusters compare.
pub(super) fn thing(record: &Record) -> (u64, u64, Bytes) {
    (record.version.0, record.updated_at.0, record.value.clone())
}

/// The things of a store, and its head.
pub(super) async fn things(store: &MemoryStore) -> (Cursor, Things) {
    let (head, found) = records(store, THING).await;
    let kept = found.into_iter().filter(|record| !record.deleted);
    (head, kept.map(|record| (record.id.key.clone(), thing(&record))).collect())
}

/// Replica of a domain as a store has it.
pub(super) async fn replica_of(store: &MemoryStore, domain: &str) -> Option<DomainReplicaValue> {
    let record = records(store, REPLICA).await.1.into_iter().find(|record| record.id.key == domain)?;
    DomainReplicaValue::decode(&*record.value).ok()
}

fn of_name<'a>(clusters: &'a [SimulatedCluster], name: &str) -> &'a SimulatedCluster {
    clusters.iter().find(|cluster| cluster.name == name).unwrap_or(&clusters[0])
}

impl SimulatedWorld {
    /// Begins by `shape` with one domain, with two that east is active for, with one for each of two clusters, or with those two and a
    /// third cluster that follows both.
    pub(super) async fn start(shape: u64) -> Self {
        let judged = |name, active, namespaces| {
            move |follower: &&'static str| JudgedDomain::new(name, [active, *follower], namespaces)
        };
        let (mesh, of_west) = (judged("mesh", "east", &["a"]), judged("second", "west", &["b"]));
        let (mut names, domains) = (
            vec!["east", "west"],
            match shape % 4 {
                0 => vec![judged("mesh", "east", &["a", "b"])(&"west")],
                1 => vec![mesh(&"west"), judged("second", "east", &["b"])(&"west")],
                2 => vec![mesh(&"west"), of_west(&"east")],
                _ => {
                    ["west", "north"].iter().map(mesh).chain(["east", "north"].iter().map(of_west)).collect()
                }
            },
        );
        names.extend(domains.iter().any(|domain| domain.follower == "north").then_some("north"));
        let clock = PausedClock(Instant::now());
        let acknowledged = Arc::new(Mutex::new(AcknowledgedState::default()));
        let heard = acknowledged.clone();
        let network = SimulatedNetwork::new(&names, Box::new(move |asked| heard.lock().hear(asked)));
        let mut clusters = Vec::new();
        for name in names {
            let store = Arc::new(MemoryStore::new(clock));
            acknowledged.lock().keep(name, store.clone());
            clusters.push(SimulatedCluster::start(name, store, &network, Default::default()).await);
            // None of them beats when another one does.
            sleep(Duration::from_millis(7)).await;
        }
        for cluster in &clusters {
            cluster.found(&domains).await;
        }
        Self { clock, network, clusters, domains, acknowledged, commits: 0, lost_lead: None }
    }

    /// The cluster with a name; east where there is none.
    pub(super) fn cluster(&self, name: &str) -> &SimulatedCluster {
        of_name(&self.clusters, name)
    }

    /// Names of the clusters that there are.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.clusters.iter().map(|cluster| cluster.name).collect()
    }

    pub(super) fn network(&self) -> &SimulatedNetwork {
        &self.network
    }

    /// Faults that were met so far.
    pub(super) fn met(&self) -> BTreeSet<&'static str> {
        let ended = self.cluster("west").ends.count.load(Ordering::Relaxed) > 0;
        let met = self.domains.iter().flat_map(|domain| domain.met.iter().copied());
        let others = [ended.then_some("ended"), self.network.has_torn().then_some("torn")];
        met.chain(others.into_iter().flatten()).collect()
    }

    /// Judges all domains now; whether all are followed, and the same in both clusters.
    pub(super) async fn judge(&mut self) -> Result<bool, String> {
        if let Some(broken) = &self.acknowledged.lock().broken {
            return Err(broken.clone());
        }
        let mut are_same = true;
        for domain in &mut self.domains {
            let clusters = [domain.active, domain.follower].map(|name| of_name(&self.clusters, name));
            are_same &= domain.judge(clusters, self.lost_lead.as_ref()).await?;
        }
        if are_same {
            self.judge_histories().await?;
        }
        Ok(are_same)
    }

    /// Makes one commit in each active cluster, or in one of them.
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
        for cluster in &self.clusters {
            let is_here = |key: &str| {
                self.domains.iter().any(|domain| domain.active == cluster.name && domain.has(key))
            };
            let here = writes.iter().filter(|(key, _)| is_here(key));
            let mut here: Vec<Write> = here.map(|(_, write)| write.clone()).collect();
            if let Some(namespace) = here.first().and_then(|write| write.id().key.split('/').next()) {
                let id =
                    |number: u64| RecordId::new(HISTORY, format!("{namespace}/{:03}", number % HISTORY_MAX));
                let (entry, old) = (id(self.commits), id(chance.u64(0..=self.commits)));
                let value = Bytes::from(format!("{:x}", chance.u64(..)));
                let is_pruned = chance.u32(0..3) == 0 && entry != old;
                here.extend(is_pruned.then_some(Write::Delete { id: old }));
                here.push(Write::Put { id: entry, value, group: None });
                cluster.write(here).await;
                self.commits += 1;
            }
        }
        let now = self.clock.now();
        let deleted = writes.into_iter().filter(|(_, write)| write.value().is_none());
        for (key, _) in deleted {
            for domain in self.domains.iter_mut().filter(|domain| domain.has(&key)) {
                domain.deleted.insert(key.clone(), now);
            }
        }
    }

    /// A copy of a store as it is now, from which it may be restored.
    pub(super) fn copy(&self, store: &MemoryStore) -> MemoryStore {
        store.replica(self.clock)
    }

    /// Restarts a cluster on another store, in a new epoch, or on the one that it has: whatever it was about to do is not done.
    pub(super) async fn restart(&mut self, name: &'static str, store: Option<MemoryStore>) {
        let other = store.map(|store| {
            store.promote(Duration::ZERO);
            Arc::new(store)
        });
        let Some(cluster) = self.clusters.iter_mut().find(|cluster| cluster.name == name) else { return };
        // Nobody of before writes into what is there now, or speaks of it.
        cluster.tasks.shutdown().await;
        if name == "west" {
            self.lost_lead = None;
        }
        if let Some(other) = &other {
            self.acknowledged.lock().keep(name, other.clone());
            let followed = self.domains.iter_mut().filter(|domain| domain.follower == name);
            followed.for_each(|domain| domain.seen = Arc::default());
        }
        let store = other.unwrap_or_else(|| cluster.store.clone());
        self.network.put(name, None);
        let kept = (cluster.history.clone(), cluster.ends.clone());
        *cluster = SimulatedCluster::start(name, store, &self.network, kept).await;
        if cluster.registry.view().get(&domain_id("mesh")).is_none() {
            cluster.found(&self.domains).await;
        }
    }

    /// Has another node take the lead of west from the one that follows, which does not know it yet.
    pub(super) async fn lose_lead(&mut self) {
        let west = self.cluster("west");
        let fence = lease(&west.registry, &west.store).await;
        let (_, things) = west.now();
        let mut applied = BTreeMap::new();
        for domain in &self.domains {
            if let Some(replica) = replica_of(&west.store, domain.name).await {
                applied.insert(domain.name, (replica.epoch, replica.applied));
            }
        }
        self.lost_lead = Some(LostLead { fence, things, applied });
    }

    /// Has the node that follows know that it leads no more, or does again.
    pub(super) fn tell_lead(&mut self, leads: bool) {
        let Some(lost) = self.lost_lead.take() else { return };
        let fence = lost.fence.clone();
        *self.cluster("west").lead.0.lock() = leads.then_some(fence);
        self.lost_lead = (!leads).then_some(lost);
    }

    /// Ends what follows in west after so many polls.
    pub(super) fn end_follower(&self, polls: u32) {
        self.cluster("west").ends.after.store(polls, Ordering::Relaxed);
    }

    /// Trims the log of east, so that it has the last commits alone.
    pub(super) async fn trim(&self, entries: usize) {
        let east = self.cluster("east");
        let epoch = east.registry.view().head().epoch;
        let day = Duration::from_secs(86_400);
        let keep = Retention {
            log_age: Duration::ZERO,
            log_entries_max: entries,
            tombstone_age: day,
            idempotency_age: day,
            idempotency_entries_max: 1000,
        };
        while east.store.housekeep(epoch, keep).await.is_ok_and(|done| done.more) {}
    }

    pub(super) fn empty(&self) -> MemoryStore {
        MemoryStore::new(self.clock)
    }

    /// Checks that what judges take for the state of the stores is what those have.
    pub(super) async fn check_history(&self) -> Result<(), String> {
        for cluster in &self.clusters {
            if things(&cluster.store).await.1 != *cluster.now().1 {
                return Err(format!("the history of {} is not what its store has", cluster.name));
            }
        }
        Ok(())
    }

    /// Judges whether followers have the histories of their sources, and none that was deleted there.
    async fn judge_histories(&self) -> Result<(), String> {
        for domain in &self.domains {
            let [source, follower] =
                [domain.active, domain.follower].map(|name| of_name(&self.clusters, name));
            let (_, here) = records(&follower.store, HISTORY).await;
            let here = here.iter().filter(|record| !record.deleted);
            let here: BTreeMap<_, _> = here.map(|record| (&record.id.key, thing(record))).collect();
            for there in records(&source.store, HISTORY).await.1 {
                let expected = (!there.deleted).then(|| thing(&there));
                if domain.has(&there.id.key) && here.get(&there.id.key) != expected.as_ref() {
                    return Err(format!("{}: {} is not as its source has it", domain.name, there.id));
                }
            }
        }
        Ok(())
    }

    /// Words about how all stand.
    pub(super) async fn told(&self) -> String {
        let mut told = String::new();
        let (_, there) = things(&self.cluster("east").store).await;
        for SimulatedCluster { name, store, .. } in &self.clusters {
            let (head, here) = things(store).await;
            let differ = there.iter().filter(|(key, thing)| here.get(*key) != Some(thing));
            let differ: Vec<_> = differ.map(|(key, thing)| (key, thing, here.get(key))).collect();
            let _ = write!(told, "{name} has {} at {head}, other than east {differ:?}; ", here.len());
        }
        for domain in &self.domains {
            let replica = replica_of(&self.cluster(domain.follower).store, domain.name).await;
            let _ = write!(told, "{} at {}: {replica:?}; ", domain.name, domain.follower);
        }
        told
    }

    /// Has an operator decide what is to be where a follower is braked.
    pub(super) async fn decide(&mut self, is_healed: bool) {
        let operator = Caller::of_tests("ann");
        for domain in &mut self.domains {
            let [source, follower] =
                [domain.active, domain.follower].map(|name| of_name(&self.clusters, name));
            let replica = replica_of(&follower.store, domain.name).await;
            if replica.is_none_or(|replica| replica.state() != State::Braked) {
                continue;
            }
            if is_healed {
                let asked = (domain.name, follower.name);
                let _ = source.comparer.heal(&operator, asked, ("lost", false, None)).await;
            } else {
                let changes = DomainChanges { registry: &follower.registry, cluster: follower.name };
                let asked = pb::ApproveDomainRequest { domain: domain.name.to_owned(), ..Default::default() };
                domain.is_approved |= changes.approve_one(&operator, asked).await.is_ok();
            }
        }
    }
}
