//! Resyncs that somebody demands: planned at once, and carried out as operations.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_decisions::register::{EntryBefore, PushPlan, UnpushedEntries, brakes, plan};
use omnirelay_identity::caller::{Caller, Scope};
use omnirelay_node::operations::{BegunOperation, CallIdentity, RunningOperation};
use omnirelay_nouns::{SCHEMA_VERSION, check_reason};
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::record::AuditedAction;
use omnirelay_settings::peer_service;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::Operation;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::operation::State;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;
use omnirelay_wire::reasons;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Resync;
use super::drive::TargetDriver;
use super::foreign::{ForeignPool, UnlistedItems};
use super::local::{LOCAL, outcome};
use super::target::{NodeCatalogue, PoolTarget, ResyncOutcome, ResyncTrouble, count};
use crate::advertisements::Resyncs as _;
use crate::advertisements::pool::{BATCH_MAX, Producer, ProducerPush};
use pb::planned_change::Action;

/// What a resync is called.
const ACTION: &str = omnirelay_wire::rpc::advertisement_service::RESYNC.audit_action;
/// The most changes that a plan names.
const CHANGES_MAX: usize = 1000;
/// The greatest batch that may be asked for: one more than there is room for beside the audit record.
const BATCH_ASKED_MAX: usize = BATCH_MAX + 1;

/// The most resyncs that wait for their turn: each may hold a file of 16 MiB.
pub(super) const WAITING_MAX: usize = 8;
/// How long a plan waits for a run that goes on.
const PLAN_WAIT: Duration = Duration::from_secs(2);

/// A resync that waits for its turn.
pub(super) struct QueuedResync {
    running: RunningOperation,
    place: OwnedSemaphorePermit,
    order: ResyncOrder,
}

/// Order for a resync: what is to be done.
struct ResyncOrder {
    to: ResyncTarget,
    set: ResyncSet,
    full: bool,
    override_brake: bool,
    batch: usize,
}

/// Pool that a resync is to push to.
enum ResyncTarget {
    Local,
    Foreign(Arc<ForeignPool>),
}

/// Set of registers that a resync pushes.
enum ResyncSet {
    Catalogue,
    /// Of an operator's file; the items were checked.
    File(Vec<pb::AdvertisedRegister>),
}

/// Set of items as it is when it is planned or pushed.
struct PushSet<'a> {
    producer: Producer,
    items: Cow<'a, [pb::AdvertisedRegister]>,
    /// Registers that stay whatever is asked for: nobody knows what they are.
    unknown: BTreeSet<String>,
    /// What the plan says of an entry that goes.
    why: Box<dyn Fn(&str) -> &'static str + Send>,
}

impl ResyncOrder {
    /// What becomes of what the pool holds beside the set.
    fn rest(&self, set: &PushSet<'_>, held: &BTreeMap<String, EntryBefore>) -> UnpushedEntries {
        match (self.full, set.unknown.is_empty()) {
            (false, _) => UnpushedEntries::Stays,
            (true, true) => UnpushedEntries::WithdrawAll,
            (true, false) => UnpushedEntries::Withdraw(
                held.keys().filter(|id| !set.unknown.contains(*id)).cloned().collect(),
            ),
        }
    }

    /// The same of a pool of others; whether that may be everything there is checked.
    ///
    /// # Errors
    /// `REMOVES_TOO_MANY`.
    fn beside(&self, set: &PushSet<'_>) -> Result<UnlistedItems, Fault> {
        if !self.full || !set.unknown.is_empty() {
            return Ok(UnlistedItems::Keep);
        }
        if !set.items.is_empty() || self.override_brake {
            return Ok(UnlistedItems::Remove);
        }
        let message = "nothing is to be advertised, so this would withdraw everything there";
        Err(Fault::new(reasons::REMOVES_TOO_MANY, message)
            .hint("look at the plan with --dry-run; --yes withdraws them all the same"))
    }

    fn gathered(&self, resync: &Resync) -> PushSet<'_> {
        match &self.set {
            ResyncSet::Catalogue => {
                let catalogue = NodeCatalogue::read(&resync.parts.registry);
                let (items, unknown) = (Cow::Owned(catalogue.items()), catalogue.unknown.clone());
                let why = Box::new(move |id: &str| catalogue.why_stray(id));
                PushSet { producer: Producer::catalogue(), items, unknown, why }
            }
            ResyncSet::File(items) => PushSet {
                producer: Producer::file(),
                items: Cow::Borrowed(items),
                unknown: BTreeSet::new(),
                why: Box::new(|_| "not in the file"),
            },
        }
    }
}

impl Resync {
    /// Plans a resync, and begins it as an operation unless it is a dry run. The advertisements of a request that
    /// brings its own were checked.
    ///
    /// # Errors
    /// `OTHER_NODE`; `INVALID_ARGUMENT`; `PEER_NOT_CONFIGURED`, `ADDRESS_NOT_ALLOWED`; `REMOVES_TOO_MANY`; `TOO_MANY_OPERATIONS`; `IDEMPOTENCY_KEY_REUSED`;
    /// `STORE_UNAVAILABLE` when the registry was not loaded yet. Nothing is begun then.
    pub async fn demand(
        &self,
        caller: &Caller,
        request: pb::ResyncRequest,
    ) -> Result<pb::ResyncResponse, Fault> {
        self.check_node(&request.node_id)?;
        check_reason(&request.reason)?;
        self.parts.registry.recheck(caller).await?;
        let (dry_run, reason) = (request.dry_run, request.reason.clone());
        let key = caller.idempotency_key.as_deref().filter(|_| !dry_run);
        let repeat = key.map(|key| CallIdentity::new(ACTION, &caller.principal, key, request_hash(&request)));
        let before = match repeat {
            Some(repeat) => self.parts.operations.begun_by(repeat)?,
            None => None,
        };
        // A plan removes nothing.
        let override_brake = request.override_brake || dry_run || before.is_some();
        let order = self.order(caller, pb::ResyncRequest { override_brake, ..request })?;
        self.parts.registry.ready_for("").await?;
        let planned = self.plan(&order).await?;
        let operation = match before {
            Some(_) => before,
            None if dry_run => {
                self.record(caller, &planned, &reason, true).await;
                None
            }
            None => Some(self.begin(caller, &planned, &reason, order, repeat).await?),
        };
        Ok(pb::ResyncResponse {
            schema_version: SCHEMA_VERSION.to_owned(),
            dry_run,
            plan: Some(planned),
            operation,
        })
    }

    /// Begins what was planned as an operation.
    async fn begin(
        &self,
        caller: &Caller,
        planned: &pb::ResyncPlan,
        reason: &str,
        order: ResyncOrder,
        repeat: Option<CallIdentity>,
    ) -> Result<Operation, Fault> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let message = format!("{WAITING_MAX} resyncs wait for their turn already");
            return Err(Fault::new(reasons::TOO_MANY_OPERATIONS, message)
                .hint("wait until one has begun, or cancel one")
                .detail("operations", WAITING_MAX));
        };
        let (operations, principal) = (&self.parts.operations, &caller.principal);
        let begun = match repeat {
            None => BegunOperation::New(operations.begin(ACTION, principal, reason)?),
            Some(repeat) => operations.begin_once(ACTION, principal, reason, repeat)?,
        };
        let running = match begun {
            BegunOperation::New(running) => running,
            BegunOperation::Before(operation) => return Ok(*operation),
        };
        self.record(caller, planned, reason, false).await;
        let operation = running.shown();
        // As many have room as have a place; without its receiver the daemon is about to stop.
        let _ = self.jobs.send(QueuedResync { running, place, order }).await;
        Ok(operation)
    }

    fn order(&self, caller: &Caller, request: pb::ResyncRequest) -> Result<ResyncOrder, Fault> {
        let batch = match request.batch_size as usize {
            0 => BATCH_MAX,
            asked if asked <= BATCH_ASKED_MAX => asked.min(BATCH_MAX),
            asked => {
                let what = format!("field `batchSize`: {asked} is out of range: 1 to {BATCH_ASKED_MAX}");
                return Err(Fault::invalid(what));
            }
        };
        if !request.from_file && !request.advertisements.is_empty() {
            return Err(Fault::invalid("field `advertisements` is only for a resync with `fromFile`"));
        }
        if request.from_file && request.full && !request.peer.is_empty() {
            let what = "field `full`: a file cannot be all that another pool has of this node; leave it out";
            return Err(Fault::invalid(what));
        }
        let to = match request.peer.as_str() {
            "" => ResyncTarget::Local,
            peer => ResyncTarget::Foreign(self.pool_at(caller, peer)?),
        };
        let set =
            if request.from_file { ResyncSet::File(request.advertisements) } else { ResyncSet::Catalogue };
        Ok(ResyncOrder { to, set, full: request.full, override_brake: request.override_brake, batch })
    }

    /// The pool at an address: one that is pushed to anyway, another of the configuration, or any that an administrator names.
    fn pool_at(&self, caller: &Caller, address: &str) -> Result<Arc<ForeignPool>, Fault> {
        let url = peer_service(address).map_err(|error| Fault::invalid(format!("field `peer`: {error}")))?;
        let settings = self.settings.get();
        if let Some(known) = self.lines.foreign(&url) {
            return Ok(known);
        }
        let (every, tls) = (self.settings.map(|settings| settings.resync_interval), settings.tls());
        let (registry, tls) = (self.parts.registry.clone(), tls.client(&self.parts.trust));
        if settings.resync_peers.contains(&url) {
            return Ok(Arc::new(ForeignPool::new(registry, url, tls, every)));
        }
        if !caller.scopes.contains(Scope::MeshAdmin) {
            let message = format!("`{url}` is no peer service of the configuration of this node");
            return Err(Fault::new(reasons::PEER_NOT_CONFIGURED, message).hint(
                "add it to registers.resyncPeers or registers.peerServices; or have somebody ask who has mesh.admin",
            ));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let reach = &self.parts.reach;
        reach.check_host(url.host_str().unwrap_or_default(), port).map_err(|error| {
            Fault::new(reasons::ADDRESS_NOT_ALLOWED, format!("cannot push to `{url}`: {}", chain(&error)))
                .hint("what is to be pushed to there has to be in the configuration: registers.resyncPeers")
        })?;
        Ok(Arc::new(ForeignPool::named_by_caller(registry, url, tls, every, reach.clone())))
    }

    async fn plan(&self, order: &ResyncOrder) -> Result<pb::ResyncPlan, Fault> {
        let set = order.gathered(self);
        match &order.to {
            ResyncTarget::Foreign(pool) => {
                order.beside(&set)?;
                let ids =
                    set.items.iter().map(|item| planned(Action::Add, &item.register_id, "sent as it is"));
                Ok(pb::ResyncPlan {
                    target: pool.name().to_owned(),
                    add: count(set.items.len()),
                    changes: ids.take(CHANGES_MAX).collect(),
                    ..pb::ResyncPlan::default()
                })
            }
            ResyncTarget::Local => {
                self.compare().await;
                let held = self.parts.pool.held(&set.producer);
                let plan = plan(&held, &set.items, &order.rest(&set, &held));
                check_brake(&plan, held.len(), order)?;
                let before = |id: &str| held.get(id).map(|held| &held.value);
                Ok(pb::ResyncPlan {
                    target: LOCAL.to_owned(),
                    add: count(plan.add.len()),
                    update: count(plan.update.len()),
                    keep: count(plan.unchanged),
                    remove: count(plan.remove.len()),
                    remote: count((self.parts.count_pool)().remote),
                    changes: changes(&plan, before, &set.why),
                })
            }
        }
    }

    /// Compares the pool in this daemon with the store, between two runs; without that it is planned by memory.
    async fn compare(&self) {
        let line = self.lines.local();
        let Ok(_turn) = timeout(PLAN_WAIT, line.turn.lock()).await else {
            debug!("planned by memory: a run goes on");
            return;
        };
        if let Err(error) = self.parts.pool.compare_with_store().await {
            debug!(error = %chain(&error), "planned by memory: the store cannot be read");
        }
    }

    /// Leaves the caller's audit record; without the store the resync goes ahead all the same.
    async fn record(&self, caller: &Caller, plan: &pb::ResyncPlan, reason: &str, dry_run: bool) {
        let pb::ResyncPlan { target, add, update, keep, remove, .. } = plan;
        let deed = AuditedAction {
            action: ACTION,
            object: format!("node/{}", self.parts.registry.node_id()),
            reason,
            dry_run,
            changes: vec![format!(
                "{target}: {add} to add, {update} to update, {remove} to remove, {keep} kept"
            )],
        };
        if let Err(error) = self.parts.registry.record(caller, deed).await {
            let request_id = &caller.request_id;
            warn!(%request_id, error = %chain(&error), "resync was not recorded in the audit trail");
        }
    }

    /// Carries out one resync when its pool is free.
    pub(super) async fn carry_out_one(self: Arc<Self>, job: QueuedResync) {
        let QueuedResync { running, place, order } = job;
        let name = match &order.to {
            ResyncTarget::Local => LOCAL,
            ResyncTarget::Foreign(pool) => pool.name(),
        };
        let line = self.lines.all().into_iter().find(|line| line.target.name() == name);
        let turn = line.as_ref().map_or(&self.elsewhere, |line| &line.turn);
        running.say("waits for another run to end");
        let _turn = tokio::select! {
            biased;
            () = running.cancelled() => return running.finish(State::Cancelled, "it had not begun"),
            turn = turn.lock() => turn,
        };
        drop(place);
        running.go();
        running.say(format!("pushes to {name}"));
        // What a file says is not how far the catalogue has come.
        let line = line.as_ref().filter(|_| matches!(order.set, ResyncSet::Catalogue));
        match &order.to {
            ResyncTarget::Local => self.push_local(running, &order, line).await,
            ResyncTarget::Foreign(pool) => self.push_foreign(running, &order, pool, line).await,
        }
    }

    async fn push_local(
        &self,
        running: RunningOperation,
        order: &ResyncOrder,
        line: Option<&Arc<TargetDriver>>,
    ) {
        let now = || self.parts.registry.view().now();
        let set = order.gathered(self);
        let held = self.parts.pool.held(&set.producer);
        // It may have waited, and more may be to go than when it was planned.
        let rest = order.rest(&set, &held);
        if let Err(fault) = check_brake(&plan(&held, &set.items, &rest), held.len(), order) {
            return finish_fault(running, &fault);
        }
        if let Some(line) = line {
            line.status.begin(now());
        }
        let push = ProducerPush {
            producer: set.producer,
            items: &set.items,
            rest,
            batch: order.batch,
            caller: None,
            progress: &|done, total| running.progress(done as u64, total as u64),
            cancelled: &|| running.is_cancelled(),
        };
        let pushed = self.parts.pool.push(push).await;
        if let Some(line) = line {
            let kept = if order.full { 0 } else { line.status.shown().drifted as usize };
            match &pushed {
                Ok(pushed) if pushed.cancelled => line.status.stopped(),
                Ok(pushed) => line.status.end(now(), &Ok(outcome(pushed.clone(), kept)), true),
                Err(fault) => line.status.end(now(), &Err(ResyncTrouble::away(&fault.message)), true),
            }
        }
        match pushed {
            Ok(pushed) => finish(running, LOCAL, outcome(pushed.clone(), 0), pushed.cancelled),
            Err(fault) => finish_fault(running, &fault),
        }
    }

    async fn push_foreign(
        &self,
        running: RunningOperation,
        order: &ResyncOrder,
        pool: &ForeignPool,
        line: Option<&Arc<TargetDriver>>,
    ) {
        let now = || self.parts.registry.view().now();
        let set = order.gathered(self);
        let beside = match order.beside(&set) {
            Ok(beside) => beside,
            Err(fault) => return finish_fault(running, &fault),
        };
        let push = async {
            match order.set {
                ResyncSet::Catalogue => pool.push(&set.items, beside).await,
                ResyncSet::File(_) => pool.hand_over(&set.items, beside).await,
            }
        };
        if let Some(line) = line {
            line.status.begin(now());
        }
        let pushed = tokio::select! {
            biased;
            () = running.cancelled() => None,
            pushed = push => Some(pushed),
        };
        if let Some(line) = line {
            match &pushed {
                Some(pushed) => line.status.end(now(), pushed, true),
                None => line.status.stopped(),
            }
        }
        match pushed {
            None => {
                running.finish(State::Cancelled, "the call was given up; the pool may have done all of it");
            }
            Some(Ok(outcome)) => finish(running, pool.name(), outcome, false),
            Some(Err(trouble)) => {
                let fault = Fault::new(reasons::PEER_SERVICE_FAILED, trouble.message);
                finish_fault(running, &fault);
            }
        }
    }
}

/// Ends an operation with what was pushed to a pool.
fn finish(running: RunningOperation, pool: &str, outcome: ResyncOutcome, cancelled: bool) {
    let counts = &outcome.counts;
    for (word, n) in [
        ("processed", counts.processed),
        ("added", counts.added),
        ("updated", counts.updated),
        ("removed", counts.removed),
        ("unchanged", counts.unchanged),
        ("failed", counts.failed),
        ("deferred", counts.deferred),
    ] {
        running.count(word, u64::from(n));
    }
    for failure in &outcome.failed {
        let object = if failure.register_id.is_empty() { pool } else { &failure.register_id };
        running.fail(object, &failure.reason, &failure.message);
    }
    let done = counts.added + counts.updated + counts.removed + counts.unchanged;
    let (added, updated, removed) = (counts.added, counts.updated, counts.removed);
    let mut message =
        format!("{added} added, {updated} updated, {removed} removed, {} unchanged", counts.unchanged);
    if counts.failed > 0 {
        message = format!("{message}, {} refused", counts.failed);
    }
    if counts.deferred > 0 {
        let deferred = counts.deferred;
        message = format!("{message}; {deferred} are kept in memory and written when the store is back");
    }
    let state = if cancelled {
        message = format!("stopped: {message}");
        State::Cancelled
    } else if counts.failed > 0 && done == 0 {
        State::Failed
    } else if counts.failed > 0 || counts.deferred > 0 {
        State::Partial
    } else {
        State::Succeeded
    };
    running.finish(state, message);
}

/// Ends an operation with what concerns no single register.
fn finish_fault(running: RunningOperation, fault: &Fault) {
    running.finish(State::Failed, format!("{}: {}", fault.reason, fault.message));
}

/// Refuses to withdraw most of what there is unless that is said.
fn check_brake(plan: &PushPlan, entries: usize, order: &ResyncOrder) -> Result<(), Fault> {
    let removals = plan.remove.len();
    if order.override_brake || !brakes(removals, entries) {
        return Ok(());
    }
    let message = format!("this would withdraw {removals} of {entries} advertisements");
    Err(Fault::new(reasons::REMOVES_TOO_MANY, message)
        .hint("look at the plan with --dry-run; --yes withdraws them all the same")
        .detail("remove", removals)
        .detail("entries", entries))
}

/// The first changes of a plan: what goes before the rest, each in the order of the ids.
fn changes<'a>(
    plan: &PushPlan,
    before: impl Fn(&str) -> Option<&'a AdvertisementValue>,
    why: &dyn Fn(&str) -> &'static str,
) -> Vec<pb::PlannedChange> {
    let added = plan.add.keys().map(|id| planned(Action::Add, id, "not advertised yet"));
    let updated =
        plan.update.iter().map(|(id, value)| planned(Action::Update, id, difference(before(id), value)));
    let removed = plan.remove.iter().map(|id| planned(Action::Remove, id, why(id)));
    let mut changes: Vec<_> = added.chain(updated).chain(removed).collect();
    let place = |change: &pb::PlannedChange| change.action() != Action::Remove;
    changes.sort_by(|one, other| (place(one), &one.register_id).cmp(&(place(other), &other.register_id)));
    changes.truncate(CHANGES_MAX);
    changes
}

fn planned(action: Action, register_id: &str, detail: impl Into<String>) -> pb::PlannedChange {
    pb::PlannedChange { action: action.into(), register_id: register_id.to_owned(), detail: detail.into() }
}

/// What differs, such as `latestVersion: 3 -> 4`.
fn difference(before: Option<&AdvertisementValue>, after: &AdvertisementValue) -> String {
    let was = before.cloned().unwrap_or_default();
    let fields = [
        ("name", was.name != after.name, format!("`{}` -> `{}`", was.name, after.name)),
        ("description", was.description != after.description, "changed".to_owned()),
        ("isPublic", was.is_public != after.is_public, format!("{} -> {}", was.is_public, after.is_public)),
        (
            "latestVersion",
            was.latest_version != after.latest_version,
            format!("{} -> {}", was.latest_version, after.latest_version),
        ),
        (
            "latestDocketVersion",
            was.latest_docket_version != after.latest_docket_version,
            format!("{} -> {}", was.latest_docket_version, after.latest_docket_version),
        ),
        (
            "syncState",
            was.sync_state != after.sync_state,
            format!("{} -> {}", was.sync_state().as_str_name(), after.sync_state().as_str_name()),
        ),
    ];
    let differs = fields.iter().filter(|(_, differs, _)| *differs);
    let text: Vec<String> = differs.map(|(name, _, how)| format!("{name}: {how}")).collect();
    if text.is_empty() { "the store has another value".to_owned() } else { text.join(", ") }
}
