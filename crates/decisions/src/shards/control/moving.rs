//! The moves of plans that run, a step at a time.

use omnirelay_core::rebalance::{MoveCause, OwnerStanding};
use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{RebalancePlanValue, ShardValue};
use omnirelay_wire::timestamp::millis;

use super::{ControlStep, MoveProgress, NamespaceDecider, ShardAction, ShardsDecision};
use crate::shards::member::ShardMember;
use pb::planned_move::Progress;
use pb::rebalance_plan::State as PlanState;

/// Progress of a move of a plan, as the record of its shard says.
pub fn progress(plan: &pb::RebalancePlan, planned: &pb::PlannedMove, value: Option<&ShardValue>) -> Progress {
    let Some(value) = value else { return Progress::Dropped };
    let began = plan.started_at.as_ref().map(millis).unwrap_or_default();
    let owned_since = value.owned_since.as_ref().map(millis).unwrap_or_default();
    let is_of_plan = value.plan_id == plan.plan_id;
    if value.owner == planned.to && is_of_plan && value.target.is_empty() {
        Progress::Moved
    } else if value.owner != planned.from {
        // It may have gone on from there since.
        if plan.started_at.is_some() && owned_since >= began { Progress::Moved } else { Progress::Dropped }
    } else if value.target.is_empty() {
        Progress::Pending
    } else if value.target == planned.to && is_of_plan {
        Progress::Draining
    } else {
        Progress::Dropped
    }
}

/// Facts about a move ahead, before it is decided what is next of it.
struct MoveOutlook<'a> {
    planned: &'a pb::PlannedMove,
    /// The node may get it now.
    may_get: bool,
    /// It is not to be made at all: the node gets none for longer than a while, or it is not needed any more.
    is_refused: bool,
    /// It has not begun, nothing demands it, and the node has much to do by now.
    is_unwanted: bool,
    /// It has not begun, nothing demands it, and an operator has paused the shard since.
    is_paused: bool,
    /// Its owner must go, and it cannot be made for now: others see to it.
    is_left: bool,
    /// Its owner is there and could go on, but the node that is to follow is in doubt: nobody has to wait for that.
    is_in_doubt: bool,
}

impl<'a> NamespaceDecider<'a> {
    /// Goes on with the plans that run, and takes back what was begun by others that have ended.
    pub(super) fn move_on(&mut self, live: &[(&'a str, &'a RebalancePlanValue)]) -> MoveProgress<'a> {
        let mut moving = MoveProgress::default();
        let is_draining = |value: &&ShardValue| !value.target.is_empty();
        moving.draining = self.scene.shards.iter().map(|(_, value)| *value).filter(is_draining).count();
        moving.paced_until = self.paced_until();
        self.take_back(live, &mut moving);
        for (id, value) in live {
            if let Some(plan) = &value.plan {
                self.move_on_with(id, plan, value.max_parallel_moves as usize, &mut moving);
            }
        }
        moving
    }

    fn move_on_with(
        &mut self,
        id: &'a str,
        plan: &'a pb::RebalancePlan,
        parallel: usize,
        moving: &mut MoveProgress<'a>,
    ) {
        let policy = self.scene.spec.policy.max_parallel;
        let most = if parallel == 0 { policy } else { policy.min(parallel) };
        let (mut changes, mut left, mut dropped) = (PlanChanges::of(id), 0, Vec::new());
        let is_braked = plan.automatic && self.braked().is_some();
        let may_begin = plan.state() == PlanState::Running && self.has_enough_nodes() && !is_braked;
        for planned in &plan.moves {
            let (shard, to) = (planned.shard_id.as_str(), planned.to.as_str());
            let value = self.value(shard);
            let ahead = self.ahead(plan, planned, value);
            match (progress(plan, planned, value), value) {
                (Progress::Moved, _) => {}
                // An older plan has it, which could not make its move for a while.
                (_, _) if moving.covered.contains_key(shard) => dropped.push(planned),
                // It is about to be otherwise.
                (_, Some(_)) if moving.touched.contains(shard) => left += 1,
                (Progress::Draining, Some(_)) if ahead.is_refused || ahead.is_left => {
                    changes.keep(planned, "cancelled");
                    moving.draining -= 1;
                    moving.touched.insert(shard);
                    dropped.push(planned);
                }
                (Progress::Pending, Some(_))
                    if ahead.is_refused || ahead.is_left || ahead.is_unwanted || ahead.is_paused =>
                {
                    dropped.push(planned);
                }
                (Progress::Draining, Some(_)) if ahead.is_in_doubt => {
                    (left, _) = (left + 1, moving.covered.insert(shard, to));
                    changes.keep(planned, "target_in_doubt");
                    moving.draining -= 1;
                    moving.touched.insert(shard);
                }
                (Progress::Draining, Some(value)) => {
                    (left, _) = (left + 1, moving.covered.insert(shard, to));
                    if ahead.may_get && self.has_stopped(shard, value) {
                        changes.push(planned, ShardAction::Move { to: to.to_owned() });
                        moving.touched.insert(shard);
                        moving.draining -= 1;
                        moving.moved += 1;
                    }
                }
                (Progress::Pending, Some(value)) => {
                    (left, _) = (left + 1, moving.covered.insert(shard, to));
                    if may_begin && ahead.may_get && moving.draining + moving.moved < most {
                        self.begin_in_time(&ahead, value, &mut changes, moving);
                    }
                }
                (_, _) => dropped.push(planned),
            }
        }
        let did = !changes.changes.is_empty();
        self.steps.extend(changes.steps());
        if left == 0 {
            self.end(id, plan, &dropped);
        } else if !self.has_enough_nodes() {
            self.waits = Some(self.too_few_nodes());
        } else if is_braked && let Some(until) = self.braked() {
            self.waits = Some(self.brake_in_words(until));
            until.into_iter().for_each(|until| self.look_again(until));
        } else if !did && moving.draining == 0 && plan.state() == PlanState::Running {
            self.waits = self.waits_for(moving);
        }
    }

    fn ahead(
        &self,
        plan: &pb::RebalancePlan,
        planned: &'a pb::PlannedMove,
        value: Option<&ShardValue>,
    ) -> MoveOutlook<'a> {
        let target = self.member(&planned.to);
        let owner = value.and_then(|value| self.member(&value.owner));
        let goes = owner.is_none_or(|owner| owner.standing == OwnerStanding::Leaving);
        // What has begun, or must be, goes on although a target has much to do by now.
        let may_get = target.is_some_and(ShardMember::gets_if_need_be);
        // What the controller has begun by itself, because an owner went, is not needed once the owner is back.
        let is_moot = plan.automatic && planned.cause == MoveCause::OwnerLeaves.word() && !goes;
        let is_unwanted = !goes && target.is_some_and(ShardMember::is_only_overloaded);
        // Of these alone the planner makes moves of shards that are paused.
        let is_demanded =
            [MoveCause::OwnerLeaves, MoveCause::Unowned].iter().any(|cause| cause.word() == planned.cause);
        // An owner that drains goes on while the plan is paused; what one had that is gone nobody serves.
        let is_held = plan.state() == PlanState::Paused;
        let is_gone = owner.is_none_or(ShardMember::is_gone);
        MoveOutlook {
            planned,
            may_get,
            is_unwanted,
            is_paused: !is_demanded && value.is_some_and(|value| value.paused || value.disabled),
            is_refused: is_moot || target.is_none_or(|target| target.gets_none()),
            is_left: goes && (!may_get || is_held && is_gone),
            is_in_doubt: !may_get && !goes && !is_gone,
        }
    }

    /// Until when no owner has to give up another shard.
    fn paced_until(&self) -> Millis {
        let interval = self.scene.spec.policy.move_interval;
        if interval.is_zero() {
            return Millis::default();
        }
        let times = self.scene.shards.iter().filter_map(|(_, value)| value.draining_since);
        times.map(|at| millis(&at).as_of(self.scene.now)).max().unwrap_or_default().after(interval)
    }

    fn begin_in_time(
        &mut self,
        ahead: &MoveOutlook<'a>,
        value: &ShardValue,
        changes: &mut PlanChanges<'a>,
        moving: &mut MoveProgress<'a>,
    ) {
        let is_free = value.owner.is_empty() || self.is_gone(value);
        let is_served = !is_free && !value.paused && !value.disabled;
        if is_served && self.scene.now < moving.paced_until {
            return self.look_again(moving.paced_until);
        }
        Self::begin(ahead, is_free, changes, moving);
        if is_served {
            moving.paced_until = self.scene.now.after(self.scene.spec.policy.move_interval);
        }
    }

    fn begin(
        ahead: &MoveOutlook<'a>,
        is_free: bool,
        changes: &mut PlanChanges<'a>,
        moving: &mut MoveProgress<'a>,
    ) {
        let planned = ahead.planned;
        let (to, cause) = (planned.to.clone(), planned.cause.clone());
        moving.touched.insert(&planned.shard_id);
        match is_free {
            true => moving.moved += 1,
            false => moving.draining += 1,
        }
        changes
            .push(planned, if is_free { ShardAction::Move { to } } else { ShardAction::Drain { to, cause } });
    }

    /// Which nodes plans wait for.
    fn waits_for(&self, moving: &MoveProgress<'_>) -> Option<String> {
        let waits = |to: &&&str| self.member(to).is_some_and(|to| !to.gets_if_need_be());
        let to = moving.covered.values().find(waits)?;
        Some(format!("{to} is {}", self.member(to)?.why.join(", ")))
    }

    /// A plan of which nothing is left to do.
    fn end(&mut self, id: &str, plan: &pb::RebalancePlan, dropped: &[&pb::PlannedMove]) {
        let is_moot = |planned: &&&pb::PlannedMove| {
            let ahead = self.ahead(plan, planned, self.value(&planned.shard_id));
            ahead.is_unwanted
                || ahead.is_paused
                || ahead.is_left && ahead.may_get
                || ahead.is_refused && self.member(&planned.to).is_some_and(|to| to.gets())
        };
        let moot = dropped.iter().filter(is_moot).count();
        let failed = dropped.iter().find(|planned| !is_moot(planned));
        let (count, all) = (dropped.len(), plan.moves.len());
        let (state, reason) = match failed {
            None if moot == 0 => (PlanState::Completed, String::new()),
            None => (
                PlanState::Completed,
                format!("{moot} of {all} moves were not needed any more, or not allowed"),
            ),
            Some(planned) => {
                let to = &planned.to;
                let why = self.member(to).map(|to| to.why.join(", ")).filter(|why| !why.is_empty());
                let why =
                    why.map_or_else(|| "it was changed meanwhile".to_owned(), |why| format!("{to} is {why}"));
                let shard = &planned.shard_id;
                (PlanState::Failed, format!("{count} of {all} moves were not made, that of {shard} as {why}"))
            }
        };
        self.steps.push(ControlStep::End { plan: id.to_owned(), state, reason });
    }

    /// What is draining for a plan that does not run: it was cancelled, or is gone.
    fn take_back(&mut self, live: &[(&'a str, &'a RebalancePlanValue)], moving: &mut MoveProgress<'a>) {
        let mut change = ShardsDecision { cause: "cancelled".to_owned(), ..ShardsDecision::default() };
        for (id, value) in self.scene.shards {
            let is_of_live = live.iter().any(|(plan, _)| *plan == value.plan_id);
            if value.target.is_empty() || is_of_live {
                continue;
            }
            moving.draining -= 1;
            moving.touched.insert(*id);
            change.shards.push(((*id).to_owned(), ShardAction::Keep));
        }
        if !change.shards.is_empty() {
            self.steps.push(ControlStep::Change(change));
        }
    }

    fn has_released(&self, shard: &str, value: &ShardValue) -> bool {
        self.scene.released.contains(&(value.owner.as_str(), shard, value.fence_token))
    }

    /// Whether an owner serves a shard no more, for certain.
    fn has_stopped(&self, shard: &str, value: &ShardValue) -> bool {
        self.has_released(shard, value) || self.is_gone(value)
    }

    /// Whether the session of an owner is over, and somebody has said so.
    fn is_gone(&self, value: &ShardValue) -> bool {
        self.member(&value.owner).is_none_or(|owner| owner.is_gone())
    }

    pub(super) fn has_enough_nodes(&self) -> bool {
        let may = self.scene.members.values().filter(|member| member.gets_if_need_be());
        may.count() >= self.scene.spec.policy.min_healthy
    }

    pub(super) fn too_few_nodes(&self) -> String {
        let least = self.scene.spec.policy.min_healthy;
        format!("fewer than {least} nodes may own shards (minHealthyNodes), and nothing moves")
    }
}

/// Changes of shards by a plan, by the causes of their moves.
struct PlanChanges<'a> {
    plan: &'a str,
    changes: Vec<ShardsDecision>,
}

impl<'a> PlanChanges<'a> {
    fn of(plan: &'a str) -> Self {
        Self { plan, changes: Vec::new() }
    }

    fn push(&mut self, planned: &pb::PlannedMove, deed: ShardAction) {
        self.add(planned, &planned.cause, deed);
    }

    /// Has an owner go on, for this cause.
    fn keep(&mut self, planned: &pb::PlannedMove, cause: &str) {
        self.add(planned, cause, ShardAction::Keep);
    }

    fn add(&mut self, planned: &pb::PlannedMove, cause: &str, deed: ShardAction) {
        let found = self.changes.iter_mut().find(|change| change.cause == cause);
        let shard = (planned.shard_id.clone(), deed);
        match found {
            Some(change) => change.shards.push(shard),
            None => self.changes.push(ShardsDecision {
                cause: cause.to_owned(),
                plan: self.plan.to_owned(),
                shards: vec![shard],
            }),
        }
    }

    fn steps(self) -> impl Iterator<Item = ControlStep> {
        self.changes.into_iter().map(ControlStep::Change)
    }
}
