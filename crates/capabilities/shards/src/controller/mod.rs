//! The controller: has shards owned as the rules of their namespaces say, on the node that leads `global-control`.
//!
//! What is to be done is decided in `decisions::shards::control`, anew from what the registry says each time; each step is one commit that
//! carries the leader's fence. So whoever leads next goes on where this node has stopped, and what comes too late is refused.

mod executor;
mod making;
mod namespace_inputs;
mod pruning;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omnirelay_cluster_records::domain::domains_changed;
use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::shards::control::{ControlScene, NamespaceDecision, decide};
use omnirelay_gossip::Gossip;
use omnirelay_host::live::Live;
use omnirelay_leadership_records::ScopeFences;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::reactor::LookPace;
use omnirelay_registry::view::View;
use omnirelay_store::{CommitError, CommitOutcome, LeaseFence, StoreError, Version};
use omnirelay_wire::pb::omnirelay::store::v1::namespace_value::Phase;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::SHARDS_RUNBOOK;
use crate::metrics::ShardMetrics;
use crate::shard_map_view::{LOAD, NAMESPACE, NamespaceMap, NamespaceMaps, PLAN, RELEASE, ShardNodes};
use executor::NamespaceExecutor;
use namespace_inputs::{AllPlans, NamespacePlans, ReleasedShards, released};

/// The shortest time between two looks that only changes of peers ask for.
const PEERS_PACE: Duration = Duration::from_millis(25);
/// How soon it is tried again what could not be done.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a daemon may be let go on before it hears that a namespace is removed.
const HEARS_LATE: Duration = Duration::from_secs(1);
/// How often gossip is asked anew while it may matter.
const GOSSIP_EVERY: Duration = Duration::from_secs(1);

/// Settings of the controller.
#[derive(Clone, Copy, Debug)]
pub struct ControllerSettings {
    /// How long changes of maps are kept.
    pub history: Duration,
}

/// Has shards owned as the rules say, while its node leads.
pub struct ShardController {
    registry: Arc<Registry>,
    gossip: Option<Arc<Gossip>>,
    leads: Arc<dyn ScopeFences>,
    metrics: Arc<ShardMetrics>,
    settings: Live<ControllerSettings>,
    plans: AllPlans,
    /// The namespaces with which nothing was to be done, and what that rested on.
    quiet: Mutex<BTreeMap<String, QuietNamespace>>,
    /// When the last step was committed, until it is certain that it would outlive the server that took it.
    unconfirmed: Mutex<Option<Millis>>,
    /// It was told that nothing is done until it is.
    held_up: AtomicBool,
}

/// Ground that a decision rests on besides time.
#[derive(PartialEq)]
struct DecisionGround {
    namespace: Version,
    /// Which nodes have too much to do, and since when.
    over: BTreeMap<String, Millis>,
    plans: Arc<NamespacePlans>,
    released: ReleasedShards,
    others: Arc<SharedGround>,
}

/// Ground that is the same for all namespaces.
#[derive(PartialEq)]
struct SharedGround {
    token: u64,
    peers: Cursor,
    doubted: BTreeSet<String>,
    live: BTreeSet<String>,
}

/// Namespace of which nothing is to be done until its ground changes, or until an instant.
struct QuietNamespace {
    ground: DecisionGround,
    again: Option<Millis>,
}

/// Inputs of the controller that are read once for all namespaces.
struct ControllerInputs {
    maps: NamespaceMaps,
    nodes: ShardNodes,
    plans: Arc<BTreeMap<String, Arc<NamespacePlans>>>,
    released: BTreeMap<String, ReleasedShards>,
    others: Arc<SharedGround>,
}

impl ShardController {
    pub fn new(
        registry: Arc<Registry>,
        gossip: Option<Arc<Gossip>>,
        leads: Arc<dyn ScopeFences>,
        metrics: Arc<ShardMetrics>,
        settings: impl Into<Live<ControllerSettings>>,
    ) -> Self {
        Self {
            registry,
            gossip,
            leads,
            metrics,
            settings: settings.into(),
            plans: AllPlans::default(),
            quiet: Mutex::default(),
            unconfirmed: Mutex::default(),
            held_up: AtomicBool::new(false),
        }
    }

    /// Does so for ever.
    pub async fn run(&self) {
        let sense = |view: &View| {
            let token = self.fence().map(|fence| fence.token);
            let domains = domains_changed(view);
            (view.changed(&NAMESPACE), view.changed(&PLAN), view.changed(&RELEASE), domains, token)
        };
        let slow = |view: &View| (peers::changed(view), view.changed(&LOAD));
        let pace = LookPace { sense: slow, between: PEERS_PACE };
        self.registry.react_paced(sense, pace, || self.look()).await;
    }

    fn fence(&self) -> Option<LeaseFence> {
        self.leads.fence(GLOBAL_CONTROL)
    }

    async fn look(&self) -> Option<Instant> {
        let Some(fence) = self.fence() else {
            self.quiet.lock().clear();
            return None;
        };
        // Nobody is gone while nobody can be judged: what is done now would rest on what may be wrong.
        if self.registry.view().spares_all() {
            return Some(Instant::now() + AGAIN);
        }
        // A plan goes no further than what is certain to be there after a failover.
        if let Err(error) = self.confirm().await {
            let error = &error as &dyn std::error::Error;
            if !self.held_up.swap(true, Ordering::Relaxed) {
                warn!(
                    error,
                    runbook = SHARDS_RUNBOOK,
                    "nothing is done with shards until replicas have the last step"
                );
            }
            return Some(Instant::now() + AGAIN);
        }
        if self.held_up.swap(false, Ordering::Relaxed) {
            info!("replicas have the last step: what is to be done with shards goes on");
        }
        let view = self.registry.view();
        let mut seen = self.see(&fence);
        let names: Vec<String> = seen.maps.here(view).map(|map| map.name().to_owned()).collect();
        // What is heard of nodes wakes nobody.
        let hears = self.gossip.is_some() && !names.is_empty();
        let mut again: Vec<Millis> = hears.then(|| view.now().after(GOSSIP_EVERY)).into_iter().collect();
        for name in &names {
            let Some(map) = seen.maps.find(name) else { continue };
            let ground = seen.ground(&map);
            if let Some(until) = self.rests(name, &ground, view.now()) {
                again.extend(until);
                continue;
            }
            let saw = self.see_to(&map, &seen, &ground, &fence).await;
            match saw {
                Ok(Some(until)) => {
                    again.extend(until);
                    self.quiet.lock().insert(name.clone(), QuietNamespace { ground, again: until });
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    self.tell(name, &error);
                    if self.confirm().await.is_err() {
                        return Some(Instant::now() + AGAIN);
                    }
                }
            }
            again.push(view.now().after(AGAIN));
            // It has taken its time, in which others may have said something.
            seen = self.see(&fence);
        }
        self.quiet.lock().retain(|name, _| seen.maps.find(name).is_some());
        again.into_iter().min().map(|at| Instant::now() + at.since(view.now()))
    }

    fn see(&self, fence: &LeaseFence) -> ControllerInputs {
        let view = self.registry.view();
        // Before what it is of: what comes meanwhile is looked at again.
        let peers = peers::changed(view);
        let (maps, plans, released) = (NamespaceMaps::of(view), self.plans.of(view), released(view));
        // Later than what they own, so that no owner is unknown because it came after.
        let nodes = ShardNodes::of(view, self.gossip.as_deref());
        let others =
            SharedGround { token: fence.token, peers, doubted: nodes.doubted().clone(), live: nodes.live() };
        ControllerInputs { maps, nodes, plans, released, others: Arc::new(others) }
    }

    /// Whether nothing is to be done with a namespace, and until when.
    fn rests(&self, name: &str, ground: &DecisionGround, now: Millis) -> Option<Option<Millis>> {
        let quiet = self.quiet.lock();
        let known = quiet.get(name).filter(|quiet| quiet.ground == *ground)?;
        known.again.is_none_or(|again| now < again).then_some(known.again)
    }

    /// Commits a step, and notes that it is not certain yet to be there after a failover.
    async fn attempt(&self, act: &DaemonAct, plan: CommitPlan) -> Result<CommitOutcome, CommitError> {
        let committed = self.registry.attempt(act, plan).await;
        let at = match &committed {
            Ok(CommitOutcome::Done(entry)) => Some(entry.at),
            Ok(_) => None,
            // Whether it was made is not known.
            Err(CommitError::Store(StoreError::OutcomeUnknown(_))) => Some(self.registry.view().now()),
            Err(_) => None,
        };
        if let Some(at) = at {
            *self.unconfirmed.lock() = Some(at);
        }
        committed
    }

    /// Waits until the last step would outlive the server that took it.
    async fn confirm(&self) -> Result<(), CommitError> {
        let unconfirmed = *self.unconfirmed.lock();
        let Some(at) = unconfirmed else { return Ok(()) };
        if self.registry.outlives(at).await {
            *self.unconfirmed.lock() = None;
            return Ok(());
        }
        let replicas = match self.registry.confirmations().lacking() {
            Some((has, needs)) => format!("{has} of {needs} replicas have it"),
            None => "the store does not say".to_owned(),
        };
        let text = format!(
            "the last step may be lost with its server ({replicas}): nothing is done until it may not"
        );
        Err(CommitError::Store(StoreError::Unavailable(text.into())))
    }

    /// Does what is next with a namespace. `None`: something was done, and there may be more; else until when nothing is to be.
    async fn see_to(
        &self,
        map: &NamespaceMap<'_>,
        seen: &ControllerInputs,
        ground: &DecisionGround,
        fence: &LeaseFence,
    ) -> Result<Option<Option<Millis>>, CommitError> {
        let mut desk = NamespaceExecutor::of(self, map, &ground.plans, fence);
        match map.value.phase() {
            Phase::Unspecified | Phase::Creating => desk.make(map, &seen.nodes).await.map(|()| None),
            Phase::Deleting => {
                // By then nobody is let serve what may be made again under this name at once; where it has begun it has waited.
                let now = seen.nodes.now();
                // Epochs are numbered by the time when they begin.
                let since =
                    map.record.record.updated_at.as_of(now).max(Millis(map.record.epoch.0).as_of(now));
                let at = since.after(seen.nodes.sessions_max() + HEARS_LATE);
                if seen.nodes.now() < at && map.value.made == map.value.shards {
                    return Ok(Some(Some(at)));
                }
                desk.remove(map).await.map(|()| None)
            }
            Phase::Ready => {
                let decision = decided(map, &seen.nodes, ground);
                let (did, again) = (!decision.steps.is_empty(), decision.again);
                let told = desk.carry_out(map, &seen.nodes, decision).await?;
                Ok((!did && !told).then_some(again))
            }
        }
    }

    fn tell(&self, namespace: &str, error: &CommitError) {
        // Somebody was faster, or leads by now: what is to be done is decided anew.
        if matches!(
            error,
            CommitError::Conflict { .. } | CommitError::Fenced { .. } | CommitError::GroupLive { .. }
        ) {
            return debug!(namespace, error = %chain(error), "step with shards refused");
        }
        self.metrics.count_failure(namespace);
        let error = error as &dyn std::error::Error;
        warn!(namespace, error, runbook = SHARDS_RUNBOOK, "step with shards failed; it is tried again");
    }
}

impl ControllerInputs {
    fn ground(&self, map: &NamespaceMap<'_>) -> DecisionGround {
        DecisionGround {
            namespace: map.record.record.version,
            over: self.nodes.over_since(map.name()),
            plans: self.plans.get(map.name()).cloned().unwrap_or_default(),
            released: self.released.get(map.name()).cloned().unwrap_or_default(),
            others: self.others.clone(),
        }
    }
}

fn decided(map: &NamespaceMap<'_>, nodes: &ShardNodes, ground: &DecisionGround) -> NamespaceDecision {
    let (spec, values, plans) = (map.spec(), map.values(), ground.plans.values());
    let members = nodes.members(map.name(), &spec, &values);
    let released = ground.released.iter().map(|(node, shard, fence)| (node.as_str(), shard.as_str(), *fence));
    decide(&ControlScene {
        name: map.name(),
        namespace: &map.value,
        spec: &spec,
        shards: &values.all(),
        members: &members,
        plans: &plans.iter().map(|(id, value)| (*id, &**value)).collect(),
        released: &released.collect(),
        now: nodes.now(),
        epoch: map.record.epoch.0,
    })
}
