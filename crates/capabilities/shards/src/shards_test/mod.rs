//! Shards on the memory store, in paused time: several nodes, one mesh.

mod eyes;
mod holding;
mod moving;
mod planning;
mod reading;
mod reload_test;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::chance::random_secret;
use omnirelay_node::CapabilityKinds;
use omnirelay_node::lab::{Lab, LabNode, reason};
use omnirelay_peer_records::PEER;
use omnirelay_peers::{HeldByPeers, Peers};
use omnirelay_peers::{StartupAnnouncement, mount_alone};
use omnirelay_scripted::{log_of, memory};
use omnirelay_settings::{HumanDuration, LiveConfig};
use omnirelay_store::{LogEntry, MemoryStore, Store};
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceValue, PeerValue, ShardReleaseValue, ShardValue};
use tokio::time::{Instant, sleep};
use tonic::{Request, Response};

use super::namespaces::{Namespaces, ShardLimits};
use super::plans::RebalancePlans;
use super::*;
use crate::metrics::ShardMetrics;
use crate::shard_map_view::namespace_id;
use pb::namespace_control_service_server::NamespaceControlService as _;
use pb::peer_control_service_server::PeerControlService as _;
use pb::rebalance_control_service_server::RebalanceControlService as _;

const KINDS: &[CapabilityKinds] = &[omnirelay_peers::KINDS, omnirelay_leadership::KINDS, crate::KINDS];
/// How long a worker waits for news.
const WAITS: Duration = Duration::from_millis(250);
const MS: Duration = Duration::from_millis(1);

/// What peers hold, as the composition of a node has it.
fn held() -> HeldByPeers {
    let owned = OwnedByEach::default();
    HeldByPeers {
        shard_counts: Box::new(move |view| owned.of(view)),
        scopes: omnirelay_leadership::drain_remainders,
        shards: owned_by,
    }
}

/// A node with what is asked of it. Dropping it is a crash.
struct Daemon {
    node: LabNode,
    /// Those of its node.
    settings: LiveConfig,
    shards: Shards,
    namespaces: Namespaces,
    plans: RebalancePlans,
    peers: Peers,
}

impl Daemon {
    async fn on(store: Arc<dyn Store>, node_id: &str) -> Self {
        Self::of(Lab::on(store, node_id)).await
    }

    /// One whose session lives for so long.
    async fn living(store: Arc<dyn Store>, node_id: &str, session_ttl: Duration) -> Self {
        Self::of(Lab::on(store, node_id).config(|config| config.session.ttl = HumanDuration(session_ttl)))
            .await
    }

    async fn of(lab: Lab) -> Self {
        let (node, settings) = lab.kinds(KINDS).with(|node| {
            mount_alone(node, StartupAnnouncement::default())?;
            let leads = omnirelay_leadership::mount(node)?;
            crate::mount(node, None, leads)?;
            Ok(node.settings.clone())
        });
        let node = node.start();
        node.registered().await;
        let registry = node.registry.clone();
        let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()).unwrap());
        let mut releases = ShardReleases::new(registry.clone(), Duration::ZERO, metrics);
        releases.holdings.waits = WAITS.into();
        let releases = Arc::new(releases);
        let loads = WorkerLoads::new(
            registry.clone(),
            pb::LoadThresholds::default(),
            releases.holdings.workers.clone(),
        );
        let loads = Arc::new(loads);
        Self {
            shards: Shards::new(registry.clone(), None, releases, loads, 100),
            namespaces: Namespaces {
                registry: registry.clone(),
                gossip: None,
                limits: ShardLimits { per_namespace: 1000, per_mesh: 1500 }.into(),
                self_approval: false.into(),
            },
            plans: RebalancePlans::new(registry.clone(), None, false, 100),
            peers: Peers::new(registry, 100, held()),
            node,
            settings,
        }
    }

    fn id(&self) -> &str {
        self.node.registry.node_id()
    }

    fn view(&self) -> &View {
        self.node.registry.view()
    }

    async fn create(&self, name: &str, shards: u32, policy: pb::RebalancePolicy) -> pb::Namespace {
        let spec = pb::NamespaceSpec { policy: Some(policy), ..pb::NamespaceSpec::default() };
        let asked = pb::CreateNamespaceRequest {
            namespace: name.to_owned(),
            spec: Some(spec),
            shards,
            ..pb::CreateNamespaceRequest::default()
        };
        let change = self.namespaces.create(called(asked, "alice")).await.unwrap().into_inner();
        change.detail.unwrap()
    }

    async fn drain(&self, node_id: &str) {
        let asked = pb::DrainPeerRequest { node_id: node_id.to_owned(), ..pb::DrainPeerRequest::default() };
        self.peers.drain(called(asked, "alice")).await.unwrap();
    }

    async fn pause(&self, shard: &str) {
        let (namespace, shard_id) = ("orders".to_owned(), shard.to_owned());
        let asked = pb::PauseShardRequest { namespace, shard_id, ..pb::PauseShardRequest::default() };
        self.shards.pause(called(asked, "alice")).await.unwrap();
    }

    async fn resume(&self, shard: &str) {
        let (namespace, shard_id) = ("orders".to_owned(), shard.to_owned());
        let asked = pb::ResumeShardRequest { namespace, shard_id, ..pb::ResumeShardRequest::default() };
        self.shards.resume(called(asked, "alice")).await.unwrap();
    }

    /// Every shard of a namespace with its owner.
    fn owners(&self, name: &str) -> BTreeMap<String, String> {
        let maps = NamespaceMaps::of(self.view());
        let values = maps.find(name).map(|map| map.values().0).unwrap_or_default();
        values.into_iter().map(|(id, value)| (id.to_owned(), value.owner.clone())).collect()
    }

    fn owned(&self, name: &str, node: &str) -> usize {
        self.owners(name).values().filter(|owner| *owner == node).count()
    }

    fn state(&self, name: &str) -> pb::namespace::State {
        let found = self.view().get(&namespace_id(name)).and_then(|record| record.value::<NamespaceValue>());
        found.map(|value| value.state()).unwrap_or_default()
    }

    /// Waits until nothing is left to do with a namespace.
    async fn at_rest(&self, name: &str) {
        use pb::namespace::State;
        until("it is at rest", || {
            let maps = NamespaceMaps::of(self.view());
            let is_moving = |map: shard_map_view::NamespaceMap<'_>| {
                map.values().0.iter().any(|(_, value)| !value.target.is_empty())
            };
            matches!(self.state(name), State::Steady | State::Completed | State::Failed)
                && maps.find(name).is_some_and(|map| !is_moving(map))
        })
        .await;
    }
}

/// Nodes `a`, `b` and so on, once `global-control` is led.
async fn mesh(store: &Arc<MemoryStore>, nodes: usize) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    for node in ["a", "b", "c", "d", "e"].into_iter().take(nodes) {
        daemons.push(Daemon::on(store.clone(), node).await);
    }
    until("it is led", || leader(&daemons).is_some()).await;
    daemons
}

/// The place of the daemon that leads `global-control`.
fn leader(daemons: &[Daemon]) -> Option<usize> {
    let tenancy = daemons.first()?.view().tenancy();
    let (lease, standing) = tenancy.of("global-control")?;
    let is_live = matches!(standing, omnirelay_decisions::lease::LeaseStanding::Live { .. });
    let node = omnirelay_peer_records::node_of_session(&lease.holder.id)?.to_owned();
    daemons.iter().position(|daemon| is_live && daemon.id() == node)
}

/// Who goes over to the others, as quickly as may be.
fn quick() -> pb::RebalancePolicy {
    pb::RebalancePolicy {
        silent_after_ms: Some(0),
        balance: pb::rebalance_policy::Automation::Off.into(),
        cooldown_ms: Some(0),
        max_parallel_moves: Some(4),
        move_interval_ms: Some(0),
        brake_percent: Some(100.0),
        ..pb::RebalancePolicy::default()
    }
}

/// Waits for something that must come to be.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "never: {what}");
        sleep(MS * 5).await;
    }
}

fn called<T>(message: T, principal: &str) -> Request<T> {
    let caller = Caller {
        generated_key: Some(format!("auto-{}", random_secret().unwrap())),
        ..Caller::of_tests(principal)
    };
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller);
    request
}

/// What is wrong with how shards came to their owners, as the log tells it: it shares nothing with what moved them.
///
/// A shard has another owner only with a greater fence, in a new version of its map, and after the owner before has said that it serves
/// it no more under its fence, or was found dead or left. Each version of a map is one commit, and follows the one before.
fn faults(log: &[Arc<LogEntry>]) -> Vec<String> {
    use pb::peer::Status;
    use prost::Message as _;
    let mut faults = Vec::new();
    let mut released = std::collections::BTreeSet::new();
    let mut gone = BTreeMap::new();
    let mut versions: BTreeMap<String, i64> = BTreeMap::new();
    for entry in log {
        let mut touched = std::collections::BTreeSet::new();
        for change in entry.changes.iter().filter(|change| !change.after.deleted) {
            let (key, bytes) = (&change.after.id.key, &*change.after.value);
            if change.after.id.kind == PEER {
                let status = PeerValue::decode(bytes).unwrap().status();
                gone.insert(key.clone(), matches!(status, Status::Suspect | Status::Dead | Status::Left));
            } else if change.after.id.kind == RELEASE {
                let value = ShardReleaseValue::decode(bytes).unwrap();
                let of = |shard: &omnirelay_wire::pb::omnirelay::store::v1::ReleasedShard| {
                    (key.clone(), format!("{}/{}", shard.namespace, shard.shard_id), shard.fence_token)
                };
                released.extend(value.shards.iter().map(of));
            } else if change.after.id.kind == SHARD {
                let after = ShardValue::decode(bytes).unwrap();
                let before = change.before.as_ref().map(|before| ShardValue::decode(&*before.value).unwrap());
                let (namespace, _) = key.split_once('/').unwrap();
                touched.insert((namespace.to_owned(), after.map_version));
                let Some(before) = before.filter(|before| before.owner != after.owner) else { continue };
                if after.fence_token <= before.fence_token {
                    faults.push(format!("{key}: fence {} after {}", after.fence_token, before.fence_token));
                }
                let is_released = released.contains(&(before.owner.clone(), key.clone(), before.fence_token));
                let is_gone = gone.get(&before.owner).is_none_or(|gone| *gone);
                if !before.owner.is_empty() && !is_released && !is_gone {
                    faults.push(format!("{key}: taken from {}, which serves it", before.owner));
                }
            }
        }
        for (namespace, version) in touched {
            let before = versions.insert(namespace.clone(), version).unwrap_or(0);
            if version != before + 1 {
                faults.push(format!("{namespace}: version {version} after {before}"));
            }
        }
    }
    faults
}

/// That the sum of a map is that of its shards, and that each node sees the same.
fn agree(daemons: &[Daemon], name: &str) {
    let sums: Vec<(i64, u64, u64)> = daemons
        .iter()
        .map(|daemon| {
            let maps = NamespaceMaps::of(daemon.view());
            let map = maps.find(name).unwrap();
            let sum = map.values().0.iter().fold(0u64, |sum, (id, value)| {
                sum.wrapping_add(omnirelay_decisions::shards::map::summand(name, id, value))
            });
            (map.value.map_version, map.value.digest, sum)
        })
        .collect();
    assert!(sums.iter().all(|sum| *sum == sums[0] && sum.1 == sum.2), "{sums:?}");
}

#[tokio::test(start_paused = true)]
async fn the_judge_finds_what_is_wrong() {
    let store = memory();
    let daemons = mesh(&store, 3).await;
    daemons[0].create("orders", 12, quick()).await;
    daemons[0].drain("b").await;
    until("b is empty", || daemons[0].owned("orders", "b") == 0).await;
    let log = log_of(&*store).await;
    assert_eq!(faults(&log), Vec::<String>::new());
    // The same without what was released.
    let without = |kind: &omnirelay_store::RecordKind| {
        let entries = log.iter().map(|entry| {
            let mut entry = LogEntry::clone(entry);
            entry.changes.retain(|change| change.after.id.kind != *kind);
            Arc::new(entry)
        });
        entries.collect::<Vec<_>>()
    };
    assert!(faults(&without(&RELEASE)).iter().any(|fault| fault.contains("which serves it")));
    // And with a version that was lost.
    let lost = log
        .iter()
        .position(|entry| entry.changes.iter().any(|change| change.after.id.kind == SHARD))
        .unwrap();
    let mut shorter = log.clone();
    shorter.remove(lost);
    assert!(!faults(&shorter).is_empty());
}
