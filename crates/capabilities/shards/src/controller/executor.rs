//! Carries out what was decided about a namespace, a commit for each step.

use std::collections::BTreeSet;
use std::sync::Arc;

use omnirelay_decisions::shards::control::{
    ControlStep, NamespaceDecision, ShardAction, ShardsDecision, apply_action,
};
use omnirelay_decisions::shards::map::{FenceIssueTime, MapEdit, or_nobody};
use omnirelay_nouns::timestamp;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::audit_record::own_body;
use omnirelay_store::{
    CommitError, CommitOutcome, Epoch, LeaseFence, Precondition, RecordId, StoreError, Version, Write,
};
use omnirelay_wire::pb::omnirelay::store::v1::{AuditValue, NamespaceValue, RebalancePlanValue, ShardValue};
use omnirelay_wire::timestamp::millis;
use tracing::{debug, info, warn};

use super::{NamespaceMap, ShardController, ShardNodes};
use crate::controller::namespace_inputs::NamespacePlans;
use crate::plans::{end_moves, new_id, put};
use crate::shard_map_view::{NAMESPACE, OF_MAP, PLAN, namespace_id, plan_id, writes};
use crate::{SHARDS_RUNBOOK, namespaces, pb};
use pb::namespace::State;
use pb::rebalance_plan::State as PlanState;

/// The most moves of a plan that has ended whose moves are kept.
const MOVES_KEPT: usize = 1000;

/// The most shards of one commit: each is a condition, and so may be what has become of its owner.
const CHANGED_MAX: usize = 120;

/// A namespace that is worked on: what its record is after each commit.
pub(super) struct NamespaceExecutor<'a> {
    pub controller: &'a ShardController,
    pub name: &'a str,
    pub value: NamespaceValue,
    version: Version,
    epoch: Epoch,
    act: DaemonAct,
    /// As they were when it was decided.
    plans: &'a NamespacePlans,
}

/// Reason why a change of a map is made.
#[derive(Clone, Default)]
pub(super) struct MapChangeReason {
    pub history: pb::ShardHistory,
    pub strategy: String,
}

impl<'a> NamespaceExecutor<'a> {
    pub(super) fn of(
        controller: &'a ShardController,
        map: &NamespaceMap<'a>,
        plans: &'a NamespacePlans,
        fence: &LeaseFence,
    ) -> Self {
        let kinds = OF_MAP.iter().cloned().chain([PLAN]);
        let act = DaemonAct::new("shards.control", kinds, WriteAuthority::Leader(fence.clone()));
        let (value, record) = (NamespaceValue::clone(&map.value), &map.record.record);
        Self {
            controller,
            name: map.name(),
            value,
            version: record.version,
            epoch: map.record.epoch,
            act,
            plans,
        }
    }

    /// Commits, on the condition that the namespace is as it was left, once the step before would outlive the server that took it.
    pub(super) async fn commit(
        &mut self,
        preconditions: Vec<Precondition>,
        writes: Vec<Write>,
        audits: Vec<AuditValue>,
        after: NamespaceValue,
    ) -> Result<(), CommitError> {
        let plan = CommitPlan::read_in(self.epoch)
            .expect([(namespace_id(self.name), self.version)])
            .require(preconditions)
            .write(writes)
            .audit(audits);
        self.controller.confirm().await?;
        let committed = self.controller.attempt(&self.act, plan).await?;
        let CommitOutcome::Done(entry) = committed else {
            return Err(CommitError::Store(StoreError::Invalid {
                what: "a step was made before".to_owned(),
            }));
        };
        let written = entry.changes.iter().find(|change| change.after.id.kind == NAMESPACE);
        if let Some(written) = written {
            self.version = written.after.version;
        }
        self.value = after;
        Ok(())
    }

    /// Whether anything was committed.
    pub(super) async fn carry_out(
        &mut self,
        map: &NamespaceMap<'_>,
        nodes: &ShardNodes,
        decision: NamespaceDecision,
    ) -> Result<bool, CommitError> {
        let NamespaceDecision { steps, state, reason, plan, .. } = decision;
        let was = (self.value.state(), self.value.state_reason.clone(), self.value.plan_id.clone());
        self.say(state, &reason, nodes);
        let did = !steps.is_empty();
        for step in steps {
            match step {
                ControlStep::Enter(entered) => self.enter(*entered, nodes).await?,
                ControlStep::Change(change) => self.change(map, nodes, &change).await?,
                ControlStep::End { plan, state, reason } => self.end(&plan, state, &reason, nodes).await?,
            }
        }
        let is_told = was == (state, reason.clone(), plan.clone());
        if did || is_told {
            return Ok(did);
        }
        let after = NamespaceValue { plan_id: plan, ..self.value.clone() };
        self.commit(Vec::new(), vec![namespaces::put(self.name, &after)], Vec::new(), after).await?;
        let (namespace, was, now) = (self.name, was.0.as_str_name(), state.as_str_name());
        if state == State::Failed {
            warn!(namespace, state = now, reason, runbook = SHARDS_RUNBOOK, "rebalancing failed");
        } else if was != now {
            info!(namespace, was, state = now, reason, "rebalancing");
        }
        Ok(true)
    }

    /// Has the namespace say what is being done with it, with the next commit.
    fn say(&mut self, state: State, reason: &str, nodes: &ShardNodes) {
        if self.value.state() != state {
            self.value.state_since = Some(timestamp(nodes.now()));
        }
        self.value.set_state(state);
        reason.clone_into(&mut self.value.state_reason);
    }

    async fn enter(&mut self, mut plan: pb::RebalancePlan, nodes: &ShardNodes) -> Result<(), CommitError> {
        let (me, now) = (self.controller.registry.node_id().to_owned(), timestamp(nodes.now()));
        let id = new_id(nodes.now());
        plan.plan_id.clone_from(&id);
        plan.author.clone_from(&me);
        (plan.created_at, plan.state_since) = (Some(now), Some(now));
        let runs = plan.state() == PlanState::Running;
        plan.started_at = runs.then_some(now);
        plan.decisions.push(pb::PlanDecision {
            what: "proposed".to_owned(),
            by: me.clone(),
            at: Some(now),
            reason: plan.reason.clone(),
            unknown_fields: Default::default(),
        });
        let (moves, reason) = (plan.moves.len(), plan.reason.clone());
        let body = own_body(
            &me,
            "rebalance-plans.enter",
            plan_id(&id).to_string(),
            vec![format!("{moves} moves: {reason}")],
        );
        let after = NamespaceValue { plan_id: id.clone(), ..self.value.clone() };
        let value = RebalancePlanValue { plan: Some(plan), ..RebalancePlanValue::default() };
        let written = vec![put(&id, &value), namespaces::put(self.name, &after)];
        self.commit(Vec::new(), written, vec![body], after).await?;
        info!(namespace = self.name, plan = id, moves, runs, reason, "rebalance plan made");
        Ok(())
    }

    async fn end(
        &mut self,
        id: &str,
        state: PlanState,
        reason: &str,
        nodes: &ShardNodes,
    ) -> Result<(), CommitError> {
        let registry = &self.controller.registry;
        let Some(record) = self.plans.find(id) else { return Ok(()) };
        let value = record.value::<RebalancePlanValue>().unwrap_or_default();
        let mut plan = value.plan.clone().unwrap_or_default();
        let now = nodes.now();
        if state != PlanState::Superseded {
            end_moves(registry.view(), record, &mut plan);
        }
        plan.set_state(state);
        reason.clone_into(&mut plan.state_reason);
        (plan.state_since, plan.ended_at) = (Some(timestamp(now)), Some(timestamp(now)));
        if plan.moves.len() > MOVES_KEPT {
            // The history has them.
            plan.moves.clear();
        }
        let (moved, began) = (plan.moved, plan.started_at.as_ref().map(millis));
        let word = state.as_str_name();
        let body = own_body(
            registry.node_id(),
            "rebalance-plans.end",
            plan_id(id).to_string(),
            vec![format!("state: {word}, {moved} moved")],
        );
        let mut after = self.value.clone();
        if began.is_some() {
            id.clone_into(&mut after.plan_id);
            after.plan_ended = Some(timestamp(now));
        }
        let value = RebalancePlanValue { plan: Some(plan), ..RebalancePlanValue::clone(&value) };
        let written = vec![put(id, &value), namespaces::put(self.name, &after)];
        let unchanged = Precondition::Version { id: plan_id(id), version: record.record.version };
        self.commit(vec![unchanged], written, vec![body], after).await?;
        let (namespace, took) = (self.name, began.map(|began| now.since(began)));
        self.controller.metrics.count_ended(namespace, word, took);
        let duration_ms = took.map(omnirelay_core::time::whole_ms);
        match state {
            PlanState::Failed => {
                warn!(
                    namespace,
                    plan = id,
                    moved,
                    reason,
                    duration_ms,
                    runbook = SHARDS_RUNBOOK,
                    "rebalance plan failed"
                );
            }
            _ => {
                info!(namespace, plan = id, state = word, moved, reason, duration_ms, "rebalance plan ended");
            }
        }
        Ok(())
    }

    async fn change(
        &mut self,
        map: &NamespaceMap<'_>,
        nodes: &ShardNodes,
        change: &ShardsDecision,
    ) -> Result<(), CommitError> {
        let why = self.why(change);
        let mut left = change.shards.as_slice();
        while !left.is_empty() {
            let mut edit = MapEdit::of(self.name, &self.value, why.history.clone());
            let mut conditions: Vec<Precondition> =
                self.plan_is_as_it_was(&change.plan).into_iter().collect();
            let (mut gone, mut count) = (BTreeSet::new(), 0);
            while let Some((shard, deed)) = left.get(count).filter(|_| edit.has_room(CHANGED_MAX)) {
                count += 1;
                let Some((id, version, before)) = known(map, shard) else { continue };
                conditions.push(Precondition::Version { id, version });
                if matches!(deed, ShardAction::Move { .. }) && !before.owner.is_empty() {
                    gone.insert(before.owner.clone());
                }
                let after = apply_action(&before, deed, &change.plan, &why.strategy, self.moment(nodes));
                edit.put(shard, Some(&before), Some(after));
            }
            conditions.extend(gone.iter().filter_map(|owner| nodes.session_over_precondition(owner)));
            let (some, rest) = left.split_at(count.max(1).min(left.len()));
            left = rest;
            if edit.is_empty() {
                continue;
            }
            let (written, after) = (writes(self.name, &edit, nodes.now()), edit.value.clone());
            self.commit(conditions, written, Vec::new(), after).await?;
            for (shard, deed) in some {
                if let Some((.., before)) = known(map, shard) {
                    self.tell(shard, &before, deed, change, &why.history.reason);
                }
            }
        }
        Ok(())
    }

    /// Time at which fence tokens are given.
    pub(super) fn moment(&self, nodes: &ShardNodes) -> FenceIssueTime {
        FenceIssueTime { now: nodes.now(), epoch: self.epoch.0 }
    }

    /// That nobody has said anything to a plan since it was decided what is next of it.
    fn plan_is_as_it_was(&self, plan: &str) -> Option<Precondition> {
        let version = self.plans.find(plan)?.record.version;
        Some(Precondition::Version { id: plan_id(plan), version })
    }

    /// Who changes shards, and why.
    fn why(&self, change: &ShardsDecision) -> MapChangeReason {
        let value = self.plans.find(&change.plan).and_then(|record| record.value::<RebalancePlanValue>());
        let plan = value.and_then(|value| value.plan.clone()).unwrap_or_default();
        let me = self.controller.registry.node_id();
        let actor = if plan.author.is_empty() { me.to_owned() } else { plan.author };
        let spec = self.value.spec.clone().unwrap_or_default();
        let history = pb::ShardHistory {
            actor,
            reason: plan.reason,
            change_ticket: plan.change_ticket,
            plan_id: change.plan.clone(),
            cause: change.cause.clone(),
            ..pb::ShardHistory::default()
        };
        MapChangeReason { history, strategy: spec.strategy_id }
    }

    /// A line for each shard that begins to move, or has moved.
    fn tell(
        &self,
        shard: &str,
        before: &ShardValue,
        deed: &ShardAction,
        change: &ShardsDecision,
        reason: &str,
    ) {
        let (namespace, from) = (self.name, or_nobody(&before.owner));
        let (plan, cause) = (&change.plan, &change.cause);
        match deed {
            ShardAction::Drain { to, .. } => {
                info!(
                    namespace,
                    shard, from, to, plan, cause, reason, "shard {shard} draining from {from} to {to}"
                );
            }
            ShardAction::Move { to } => {
                self.controller.metrics.count_move(namespace, cause);
                info!(
                    namespace,
                    shard, from, to, plan, cause, reason, "shard {shard} moved from {from} to {to}"
                );
            }
            ShardAction::Keep => info!(namespace, shard, from, plan, "shard {shard} stays with {from}"),
            ShardAction::Park => {
                warn!(
                    namespace,
                    shard,
                    from,
                    runbook = SHARDS_RUNBOOK,
                    "shard {shard} parked: {from} is silent"
                );
            }
            ShardAction::Unpark => {
                info!(namespace, shard, from, "shard {shard} active again: {from} is back");
            }
            ShardAction::Refence => debug!(namespace, shard, from, "shard {shard} fenced anew"),
        }
    }
}

/// A shard as it was when it was decided.
fn known(map: &NamespaceMap<'_>, shard: &str) -> Option<(RecordId, Version, Arc<ShardValue>)> {
    let record = map.shard(shard)?;
    Some((record.record.id.clone(), record.record.version, record.value()?))
}
