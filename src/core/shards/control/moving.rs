//! The moves of plans that run, a step at a time.

use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{RebalancePlanValue, ShardValue};

use super::{Change, Deciding, Deed, Moving, Step};
use pb::planned_move::Progress;
use pb::rebalance_plan::State as PlanState;

/// How a move of a plan is, as the records of its shard say.
pub fn progress(plan: &str, planned: &pb::PlannedMove, value: Option<&ShardValue>) -> Progress {
    let Some(value) = value else { return Progress::Dropped };
    if value.owner == planned.to && value.plan_id == plan && value.target.is_empty() {
        Progress::Moved
    } else if value.owner != planned.from {
        Progress::Dropped
    } else if value.target.is_empty() {
        Progress::Pending
    } else if value.target == planned.to && value.plan_id == plan {
        Progress::Draining
    } else {
        Progress::Dropped
    }
}

impl<'a> Deciding<'a> {
    /// Goes on with the plans that run, and takes back what was begun by others that have ended.
    pub(super) fn move_on(&mut self, live: &[(&'a str, &'a RebalancePlanValue)]) -> Moving<'a> {
        let mut moving = Moving::default();
        let is_draining = |value: &&ShardValue| !value.target.is_empty();
        moving.draining = self.scene.shards.iter().map(|(_, value)| *value).filter(is_draining).count();
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
        moving: &mut Moving<'a>,
    ) {
        let most = if parallel == 0 { self.scene.spec.policy.max_parallel } else { parallel };
        let (mut changes, mut left, mut dropped) = (Changes::of(id), 0, Vec::new());
        let may_begin = plan.state() == PlanState::Running && self.has_enough_nodes();
        for planned in &plan.moves {
            let (shard, to) = (planned.shard_id.as_str(), planned.to.as_str());
            let value = self.value(shard);
            let target = self.member(to);
            let is_refused = target.is_none_or(|target| target.gets_none());
            match (progress(id, planned, value), value) {
                (Progress::Moved, _) => {}
                // An older plan has it, which could not make its move for a while.
                (_, _) if moving.covered.contains_key(shard) => dropped.push((shard, to)),
                // It is about to be otherwise.
                (_, Some(_)) if moving.touched.contains(shard) => left += 1,
                (Progress::Draining, Some(_)) if is_refused => {
                    changes.push(planned, Deed::Keep);
                    moving.draining -= 1;
                    moving.touched.insert(shard);
                    dropped.push((shard, to));
                }
                (Progress::Pending, Some(_)) if is_refused => dropped.push((shard, to)),
                (Progress::Draining, Some(value)) => {
                    (left, _) = (left + 1, moving.covered.insert(shard, to));
                    let may_get = target.is_some_and(|target| target.gets());
                    if may_get && self.has_stopped(shard, value) {
                        changes.push(planned, Deed::Move { to: to.to_owned() });
                        moving.touched.insert(shard);
                        moving.draining -= 1;
                    }
                }
                (Progress::Pending, Some(value)) => {
                    (left, _) = (left + 1, moving.covered.insert(shard, to));
                    let may_get = target.is_some_and(|target| target.gets());
                    let begins = may_begin && may_get && moving.draining + changes.moves() < most;
                    if begins {
                        let is_free = value.owner.is_empty() || self.is_gone(value);
                        let (to, cause) = (to.to_owned(), planned.cause.clone());
                        moving.draining += usize::from(!is_free);
                        changes.push(
                            planned,
                            if is_free { Deed::Move { to } } else { Deed::Drain { to, cause } },
                        );
                        moving.touched.insert(shard);
                    }
                }
                (_, _) => dropped.push((shard, to)),
            }
        }
        self.steps.extend(changes.steps());
        if left == 0 {
            self.end(id, plan, &dropped);
        } else if !self.has_enough_nodes() {
            self.waits = Some(self.too_few_nodes());
        }
    }

    /// A plan of which nothing is left to do.
    fn end(&mut self, id: &str, plan: &pb::RebalancePlan, dropped: &[(&str, &str)]) {
        let (state, reason) = match dropped.first() {
            None => (PlanState::Completed, String::new()),
            Some((shard, to)) => {
                let why = self.member(to).map(|to| to.why.join(", ")).filter(|why| !why.is_empty());
                let why =
                    why.map_or_else(|| "it was changed meanwhile".to_owned(), |why| format!("{to} is {why}"));
                let (dropped, all) = (dropped.len(), plan.moves.len());
                (
                    PlanState::Failed,
                    format!("{dropped} of {all} moves were not made, that of {shard} as {why}"),
                )
            }
        };
        self.steps.push(Step::End { plan: id.to_owned(), state, reason });
    }

    /// What is draining for a plan that does not run: it was cancelled, or is gone.
    fn take_back(&mut self, live: &[(&'a str, &'a RebalancePlanValue)], moving: &mut Moving<'a>) {
        let mut change = Change { cause: "cancelled".to_owned(), ..Change::default() };
        for (id, value) in self.scene.shards {
            let is_of_live = live.iter().any(|(plan, _)| *plan == value.plan_id);
            if value.target.is_empty() || is_of_live {
                continue;
            }
            moving.draining -= 1;
            moving.touched.insert(*id);
            change.shards.push(((*id).to_owned(), Deed::Keep));
        }
        if !change.shards.is_empty() {
            self.steps.push(Step::Change(change));
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
        let open = self.scene.members.values().filter(|member| member.gets()).count();
        open >= self.scene.spec.policy.min_healthy
    }

    pub(super) fn too_few_nodes(&self) -> String {
        let least = self.scene.spec.policy.min_healthy;
        format!("fewer than {least} nodes may own shards (minHealthyNodes), and nothing moves")
    }
}

/// What becomes of shards by a plan, by the causes of their moves.
struct Changes<'a> {
    plan: &'a str,
    changes: Vec<Change>,
}

impl<'a> Changes<'a> {
    fn of(plan: &'a str) -> Self {
        Self { plan, changes: Vec::new() }
    }

    fn push(&mut self, planned: &pb::PlannedMove, deed: Deed) {
        let cause = match deed {
            Deed::Keep => "cancelled",
            _ => planned.cause.as_str(),
        };
        let found = self.changes.iter_mut().find(|change| change.cause == cause);
        let shard = (planned.shard_id.clone(), deed);
        match found {
            Some(change) => change.shards.push(shard),
            None => self.changes.push(Change {
                cause: cause.to_owned(),
                plan: self.plan.to_owned(),
                shards: vec![shard],
            }),
        }
    }

    /// How many shards get another owner at once: no more than may be between two.
    fn moves(&self) -> usize {
        let is_move = |(_, deed): &&(String, Deed)| matches!(deed, Deed::Move { .. });
        self.changes.iter().flat_map(|change| &change.shards).filter(is_move).count()
    }

    fn steps(self) -> impl Iterator<Item = Step> {
        self.changes.into_iter().map(Step::Change)
    }
}
