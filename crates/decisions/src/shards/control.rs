//! Control of the shards of a namespace: what whoever leads `global-control` does next, from what the registry says
//! alone.
//!
//! Nothing is remembered from one decision to the next, so that another node goes on wherever one has stopped.

mod evacuating;
mod moving;
mod relieving;
mod restoring;

pub use moving::progress;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omnirelay_core::rebalance::{MoveCause, OwnerStanding};
use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceValue, RebalancePlanValue, ShardValue};
use omnirelay_wire::timestamp::{millis, timestamp};

use super::map::{FenceIssueTime, fenced, hexadecimal, owned_by, without_target};
use super::member::ShardMember;
use super::planning::PlannedShards;
use super::spec::{Automation, NamespaceRules};
use pb::namespace::State;
use pb::rebalance_plan::State as PlanState;

/// Causes of moves that are no [`MoveCause`]: a shard goes for what its owner has to do, or back to where it was.
pub const FURTHER_CAUSES: [&str; 2] = [relieving::CAUSE, restoring::CAUSE];
/// How long it is told that a plan has failed, if nothing else is done.
const FAILED_TOLD: Duration = Duration::from_secs(3600);

/// All that a decision rests on.
pub struct ControlScene<'a> {
    pub name: &'a str,
    pub namespace: &'a NamespaceValue,
    pub spec: &'a NamespaceRules,
    pub shards: &'a PlannedShards<'a>,
    pub members: &'a BTreeMap<String, ShardMember>,
    /// Those of the namespace, by their ids.
    pub plans: &'a BTreeMap<&'a str, &'a RebalancePlanValue>,
    /// What owners have stopped to serve: shard and fence, by the owner.
    pub released: &'a BTreeSet<(&'a str, &'a str, u64)>,
    pub now: Millis,
    /// Of the store.
    pub epoch: u64,
}

/// One thing to be done, with one commit.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlStep {
    /// A plan that the controller makes by itself.
    Enter(Box<pb::RebalancePlan>),
    /// What becomes of shards, for one reason.
    Change(ShardsDecision),
    /// A plan has ended.
    End { plan: String, state: PlanState, reason: String },
}

/// Decision about some shards, with its cause.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardsDecision {
    /// As of [`pb::ShardHistory`].
    pub cause: String,
    /// Empty: no plan says so.
    pub plan: String,
    pub shards: Vec<(String, ShardAction)>,
}

/// Action on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardAction {
    /// Its owner is to stop, and `to` follows.
    Drain {
        to: String,
        cause: String,
    },
    /// Its owner has stopped, or is gone for certain.
    Move {
        to: String,
    },
    /// Its owner is to go on after all, with another fence: whether it has stopped already under this one is not for certain.
    Keep,
    Park,
    Unpark,
    /// Its owner goes on, with another fence: this one is of another epoch, in which later ones may have been given that are lost.
    Refence,
}

/// Decision about a namespace: its steps and its state, and when that may be another without a change of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceDecision {
    pub steps: Vec<ControlStep>,
    pub state: State,
    pub reason: String,
    pub plan: String,
    pub again: Option<Millis>,
}

/// Whether a plan is being carried out, or stands still on the way.
pub fn is_live(value: &RebalancePlanValue) -> bool {
    let is_live = |plan: &pb::RebalancePlan| matches!(plan.state(), PlanState::Running | PlanState::Paused);
    value.plan.as_ref().is_some_and(is_live)
}

/// Whether somebody is to approve or to apply a plan.
pub fn waits_for_somebody(plan: &pb::RebalancePlan) -> bool {
    matches!(plan.state(), PlanState::Proposed | PlanState::Approved)
}

/// Decides about a namespace all of whose shards there are.
pub fn decide(scene: &ControlScene<'_>) -> NamespaceDecision {
    let mut deciding = NamespaceDecider { scene, steps: Vec::new(), again: None, waits: None };
    if let Some(step) = deciding.refence() {
        let (state, reason) = (scene.namespace.state(), scene.namespace.state_reason.clone());
        return NamespaceDecision {
            steps: vec![step],
            state,
            reason,
            plan: scene.namespace.plan_id.clone(),
            again: None,
        };
    }
    let live = deciding.live_plans();
    deciding.supersede();
    let moving = deciding.move_on(&live);
    // What somebody is asked about waits; else it is given to others at once.
    let asks = scene.spec.policy.evacuation != Automation::Automatic;
    if asks {
        deciding.park(&moving);
    }
    let evacuating = deciding.evacuate(&moving);
    if !asks {
        deciding.park(&moving);
    }
    deciding.restore(&moving, evacuating);
    deciding.relieve(&moving, evacuating);
    deciding.balance(&moving, evacuating);
    deciding.conclude(&live, &moving)
}

/// Decider about one namespace, with the steps that it has found so far.
struct NamespaceDecider<'a> {
    scene: &'a ControlScene<'a>,
    steps: Vec<ControlStep>,
    again: Option<Millis>,
    /// Why nothing is done that should be.
    waits: Option<String>,
}

/// State of the moves of plans that run.
#[derive(Default)]
struct MoveProgress<'a> {
    /// Where each shard of theirs goes, of those that will get there.
    covered: BTreeMap<&'a str, &'a str>,
    /// What the steps of this decision give another owner, or have drained.
    touched: BTreeSet<&'a str>,
    draining: usize,
    /// No owner has to give up another one before.
    paced_until: Millis,
    /// How many get another owner with the steps of this decision: no more than may be between two.
    moved: usize,
}

impl<'a> NamespaceDecider<'a> {
    fn live_plans(&self) -> Vec<(&'a str, &'a RebalancePlanValue)> {
        self.scene.plans.iter().filter(|(_, value)| is_live(value)).map(|(id, value)| (*id, *value)).collect()
    }

    /// What is owned under a fence of another epoch, if anything is: nothing else is done before.
    fn refence(&self) -> Option<ControlStep> {
        let is_of_another =
            |value: &ShardValue| !value.owner.is_empty() && value.fence_epoch != self.scene.epoch;
        let old = self.scene.shards.iter().filter(|(_, value)| is_of_another(value));
        let shards: Vec<_> = old.map(|(id, _)| ((*id).to_owned(), ShardAction::Refence)).collect();
        let change = ShardsDecision { cause: "new_epoch".to_owned(), plan: String::new(), shards };
        (!change.shards.is_empty()).then_some(ControlStep::Change(change))
    }

    /// Plans that wait and were made for another map are for nobody to approve any more.
    fn supersede(&mut self) {
        for (id, value) in self.scene.plans {
            let Some(plan) = &value.plan else { continue };
            if waits_for_somebody(plan) && !self.is_of_this_map(plan) {
                let reason =
                    format!("the map was changed: it is of version {}", self.scene.namespace.map_version);
                self.steps.push(ControlStep::End {
                    plan: (*id).to_owned(),
                    state: PlanState::Superseded,
                    reason,
                });
            }
        }
    }

    fn is_of_this_map(&self, plan: &pb::RebalancePlan) -> bool {
        let namespace = self.scene.namespace;
        plan.map_version == namespace.map_version && plan.map_checksum == hexadecimal(namespace.digest)
    }

    /// The plan that waits for somebody.
    fn pending(&self) -> Option<&'a str> {
        let waits = |value: &RebalancePlanValue| {
            value.plan.as_ref().is_some_and(|plan| waits_for_somebody(plan) && self.is_of_this_map(plan))
        };
        self.scene.plans.iter().find(|(_, value)| waits(value)).map(|(id, _)| *id)
    }

    fn value(&self, shard: &str) -> Option<&'a ShardValue> {
        let place = self.scene.shards.binary_search_by(|(id, _)| (*id).cmp(shard)).ok()?;
        self.scene.shards.get(place).map(|(_, value)| *value)
    }

    fn member(&self, node: &str) -> Option<&'a ShardMember> {
        self.scene.members.get(node)
    }

    fn look_again(&mut self, at: Millis) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    /// Shards that wait: their owner is gone, and others cannot have them yet. And those whose owner is back.
    fn park(&mut self, moving: &MoveProgress<'a>) {
        let mut change = ShardsDecision { cause: "parked".to_owned(), ..ShardsDecision::default() };
        for (id, value) in self.scene.shards {
            let Some(owner) = self.member(&value.owner) else { continue };
            if moving.touched.contains(id) {
                continue;
            }
            let is_gone = owner.is_gone();
            if let Some(since) = owner.gone_since.filter(|_| !value.parked) {
                let at = since.after(self.scene.spec.policy.silent_after);
                if at > self.scene.now {
                    self.look_again(at);
                    continue;
                }
            }
            if is_gone != value.parked {
                let deed = if is_gone { ShardAction::Park } else { ShardAction::Unpark };
                change.shards.push(((*id).to_owned(), deed));
            }
        }
        if !change.shards.is_empty() {
            self.steps.push(ControlStep::Change(change));
        }
    }

    fn conclude(self, live: &[(&str, &RebalancePlanValue)], moving: &MoveProgress<'_>) -> NamespaceDecision {
        let namespace = self.scene.namespace;
        let drains = moving.draining > 0;
        let entered = self
            .steps
            .iter()
            .any(|step| matches!(step, ControlStep::Enter(plan) if plan.state() == PlanState::Running));
        let (state, reason) = if let Some((id, value)) = live.first() {
            let is_paused = value.plan.as_ref().is_some_and(|plan| plan.state() == PlanState::Paused);
            match (drains, is_paused, &self.waits) {
                (true, ..) => (State::Draining, format!("plan {id}: owners are to stop")),
                (false, _, Some(waits)) => (State::Investigating, format!("plan {id}: {waits}")),
                (false, true, None) => (State::RebalancePending, format!("plan {id} is paused")),
                (false, false, None) => (State::Rebalancing, format!("plan {id}")),
            }
        } else if entered {
            (State::Rebalancing, String::new())
        } else if let Some(waits) = self.waits.clone() {
            (State::Investigating, waits)
        } else if let Some(member) = self.doubtful_owner() {
            (State::Investigating, format!("{} owns shards and is {}", member.id, member.why.join(", ")))
        } else if let Some(id) = self.pending() {
            (State::RebalancePending, format!("plan {id} waits for somebody to approve or apply it"))
        } else {
            self.rest()
        };
        let plan = live.first().map(|(id, _)| (*id).to_owned()).or(self.pending().map(str::to_owned));
        let plan = plan.unwrap_or_else(|| namespace.plan_id.clone());
        let mut again = self.again;
        if matches!(state, State::Completed | State::Failed) {
            let ended = self.plan_ended();
            let cooldown = self.scene.spec.policy.cooldown;
            let at = ended.after(if state == State::Failed { cooldown.max(FAILED_TOLD) } else { cooldown });
            again = Some(again.map_or(at, |again| again.min(at)));
        }
        NamespaceDecision { steps: self.steps, state, reason, plan, again }
    }

    /// An owner of shards of which it is not known yet whether it is gone.
    fn doubtful_owner(&self) -> Option<&'a ShardMember> {
        let owns =
            |member: &&ShardMember| self.scene.shards.iter().any(|(_, value)| value.owner == member.id);
        let is_in_doubt = |member: &&ShardMember| {
            member.is_silent
                || member.is_gone() && member.standing != OwnerStanding::Leaving
                || member.why.contains(&"suspect")
        };
        self.scene.members.values().filter(is_in_doubt).find(owns)
    }

    /// Whether every shard has an owner that is there.
    fn all_are_owned(&self) -> bool {
        let is_there = |owner: &str| self.scene.members.get(owner).is_some_and(|member| !member.is_gone());
        self.scene.shards.iter().all(|(_, value)| is_there(&value.owner))
    }

    /// When the last plan ended.
    fn plan_ended(&self) -> Millis {
        self.scene.namespace.plan_ended.as_ref().map(millis).unwrap_or_default().as_of(self.scene.now)
    }

    /// What a namespace is with which nothing is done.
    fn rest(&self) -> (State, String) {
        let namespace = self.scene.namespace;
        let last = self.scene.plans.get(namespace.plan_id.as_str()).and_then(|value| value.plan.as_ref());
        let ended = self.plan_ended();
        let cooldown = self.scene.spec.policy.cooldown;
        let cools = self.scene.now < ended.after(cooldown);
        let is_told = self.scene.now < ended.after(cooldown.max(FAILED_TOLD));
        match last.map(|plan| (plan.state(), plan)) {
            // Of what the controller did by itself there is nothing to be done once all is well.
            Some((PlanState::Failed, plan)) if is_told && !(plan.automatic && self.all_are_owned()) => {
                (State::Failed, format!("plan {}: {}", plan.plan_id, plan.state_reason))
            }
            Some((PlanState::Completed, plan)) if cools => {
                (State::Completed, format!("plan {}", plan.plan_id))
            }
            _ => (State::Steady, String::new()),
        }
    }

    /// Whether nothing is being done and nothing waits.
    fn is_idle(&self, moving: &MoveProgress<'a>, evacuates: bool) -> bool {
        let is_at_rest = moving.covered.is_empty() && self.steps.is_empty() && self.waits.is_none();
        is_at_rest && !evacuates && self.pending().is_none()
    }

    /// Whether nothing is being done and nothing waits, and the last plan is long enough over, so that one may be made that no
    /// constraint demands; it is looked again when it is.
    fn may_choose(
        &mut self,
        by: Automation,
        moving: &MoveProgress<'a>,
        evacuates: bool,
        pause: Duration,
    ) -> bool {
        // Who is about to be back, or gone, changes what is to be chosen.
        if by == Automation::Off || !self.is_idle(moving, evacuates) || self.doubtful_owner().is_some() {
            return false;
        }
        // What somebody has refused is not proposed again at once. What had to move says nothing about how soon others may.
        let chosen =
            self.scene.plans.values().filter_map(|value| value.plan.as_ref()).filter(|plan| !is_forced(plan));
        let refused = chosen.filter_map(|plan| plan.ended_at);
        let now = self.scene.now;
        let last = self.scene.plans.get(self.scene.namespace.plan_id.as_str());
        let was_forced = last.and_then(|value| value.plan.as_ref()).is_some_and(is_forced);
        let last = self.scene.namespace.plan_ended.filter(|_| !was_forced);
        let ended = refused.chain(last).map(|at| millis(&at).as_of(now)).max();
        let cooled = ended.unwrap_or_default().after(pause);
        if cooled > self.scene.now {
            self.look_again(cooled);
        }
        cooled <= self.scene.now
    }

    /// What others should have, where the controller is to see to it.
    fn balance(&mut self, moving: &MoveProgress<'a>, evacuates: bool) {
        let policy = &self.scene.spec.policy;
        if !self.may_choose(policy.balance, moving, evacuates, policy.cooldown) {
            return;
        }
        let planned = super::planning::plan(
            self.scene.name,
            self.scene.shards,
            self.scene.members,
            &self.scene.spec.rules(),
            &moving.covered,
        );
        if !planned.moves.is_empty() {
            self.enter(planned, policy.balance, "shards are not spread as the rules say");
        }
    }

    fn enter(&mut self, planned: super::planning::ShardPlanOutcome, by: Automation, reason: &str) {
        let is_automatic = by == Automation::Automatic;
        // One that is proposed beside another step would be of an older map than that which comes of it.
        if !is_automatic && !self.steps.is_empty() {
            return;
        }
        let state = if is_automatic { PlanState::Running } else { PlanState::Proposed };
        self.steps.push(ControlStep::Enter(Box::new(pb::RebalancePlan {
            namespace: self.scene.name.to_owned(),
            state: state.into(),
            automatic: is_automatic,
            reason: reason.to_owned(),
            map_version: self.scene.namespace.map_version,
            map_checksum: hexadecimal(self.scene.namespace.digest),
            summary: Some(planned.summary),
            loads: planned.loads,
            moves: planned.moves,
            ..pb::RebalancePlan::default()
        })));
    }
}

/// Whether a plan is of nothing but shards whose owner is gone or leaves, or that have none.
fn is_forced(plan: &pb::RebalancePlan) -> bool {
    let forced = [MoveCause::Unowned.word(), MoveCause::OwnerLeaves.word()];
    !plan.moves.is_empty() && plan.moves.iter().all(|one| forced.contains(&one.cause.as_str()))
}

/// Returns the record of a shard once an action was done to it.
pub fn apply_action(
    value: &ShardValue,
    deed: &ShardAction,
    plan: &str,
    strategy: &str,
    at: FenceIssueTime,
) -> ShardValue {
    match deed {
        ShardAction::Drain { to, cause } => ShardValue {
            target: to.clone(),
            target_cause: cause.clone(),
            draining_since: Some(timestamp(at.now)),
            plan_id: plan.to_owned(),
            ..value.clone()
        },
        // When it was to be given up is kept: owners give up shards no sooner after one another, whatever comes of it.
        ShardAction::Move { to } => ShardValue {
            plan_id: plan.to_owned(),
            strategy_id: strategy.to_owned(),
            draining_since: value.draining_since,
            ..owned_by(value, to, at)
        },
        ShardAction::Keep => {
            ShardValue { draining_since: value.draining_since, ..fenced(&without_target(value), at) }
        }
        ShardAction::Park => ShardValue { parked: true, ..value.clone() },
        ShardAction::Unpark => ShardValue { parked: false, ..value.clone() },
        ShardAction::Refence => fenced(value, at),
    }
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
