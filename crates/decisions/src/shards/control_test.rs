//! Tests of the next steps of the control of shards, as tables.

use std::collections::{BTreeMap, BTreeSet};

use omnirelay_core::rebalance::OwnerStanding;
use omnirelay_core::shard_order::Weight;
use omnirelay_core::time::Millis;
use omnirelay_wire::timestamp::timestamp;

use super::*;
use crate::shards::map::{FenceIssueTime, MapEdit, numbered, owned_by};
use crate::shards::member::spare_few;
use crate::shards::planning::plan;

#[path = "coming_test.rs"]
mod coming_test;
#[path = "courses_test.rs"]
mod courses;
#[path = "paused_test.rs"]
mod paused;
#[path = "relieving_test.rs"]
mod relieving;

/// A namespace in memory: what the registry would hold of it, and what the nodes are.
struct World {
    namespace: NamespaceValue,
    spec: pb::NamespaceSpec,
    shards: BTreeMap<String, ShardValue>,
    plans: BTreeMap<String, RebalancePlanValue>,
    nodes: BTreeMap<String, Node>,
    released: BTreeSet<(String, String, u64)>,
    /// What owners had stopped before a copy was restored: they may serve it again.
    taken_back: BTreeSet<(String, String, u64)>,
    /// The greatest fence token that any write of a shard has carried.
    gate: BTreeMap<String, u64>,
    now: Millis,
    epoch: u64,
    made: usize,
}

/// Copy of a registry: a namespace, its shards and its plans.
#[derive(Clone)]
struct Copied(NamespaceValue, BTreeMap<String, ShardValue>, BTreeMap<String, RebalancePlanValue>);

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    gone_since: Option<Millis>,
    silent: bool,
    suspect: bool,
    draining: bool,
    cordoned: bool,
    overloaded: bool,
    restores: Option<(Millis, Millis)>,
}

impl World {
    fn new(nodes: usize, shards: u32, policy: pb::RebalancePolicy) -> Self {
        let spec = pb::NamespaceSpec { policy: Some(policy), ..pb::NamespaceSpec::default() };
        let nodes = (0..nodes).map(|at| (format!("n{at}"), Node::default())).collect();
        let mut namespace = NamespaceValue { shards, ..NamespaceValue::default() };
        namespace.set_phase(omnirelay_wire::pb::omnirelay::store::v1::namespace_value::Phase::Ready);
        let mut world = Self {
            namespace,
            spec,
            shards: BTreeMap::new(),
            plans: BTreeMap::new(),
            nodes,
            released: BTreeSet::new(),
            taken_back: BTreeSet::new(),
            gate: BTreeMap::new(),
            now: Millis(1_000_000),
            epoch: 1,
            made: 0,
        };
        let new: Vec<(String, ShardValue)> = numbered(shards).map(|id| (id, ShardValue::default())).collect();
        let all: Vec<(&str, &ShardValue)> = new.iter().map(|(id, value)| (id.as_str(), value)).collect();
        let planned = plan("ns", &all, &world.members(), &world.rules().rules(), &BTreeMap::new());
        for ((id, value), owner) in new.iter().zip(&planned.owners) {
            world.shards.insert(id.clone(), owned_by(value, owner, world.moment()));
        }
        world.namespace.map_version = 1;
        world
    }

    fn moment(&self) -> FenceIssueTime {
        FenceIssueTime { now: self.now, epoch: self.epoch }
    }

    /// The registry is what it was, in a new epoch.
    fn restore(&mut self, copy: &Copied) {
        let Copied(namespace, shards, plans) = copy.clone();
        (self.namespace, self.shards, self.plans) = (namespace, shards, plans);
        self.taken_back.append(&mut self.released);
        self.epoch += 1;
    }

    fn copied(&self) -> Copied {
        Copied(self.namespace.clone(), self.shards.clone(), self.plans.clone())
    }

    fn rules(&self) -> NamespaceRules {
        NamespaceRules::of(&self.spec).unwrap()
    }

    fn members(&self) -> BTreeMap<String, ShardMember> {
        let spec = self.rules();
        let mut members: BTreeMap<String, ShardMember> = self
            .nodes
            .iter()
            .map(|(id, node)| {
                let evacuated =
                    node.gone_since.is_some_and(|since| self.now >= since.after(spec.policy.silent_after));
                let mut why = Vec::new();
                why.extend(node.gone_since.map(|_| "dead"));
                why.extend((node.silent && node.gone_since.is_none()).then_some("session_over"));
                why.extend(node.suspect.then_some("suspect"));
                why.extend(node.draining.then_some("draining"));
                why.extend(node.cordoned.then_some("cordoned"));
                why.extend(node.overloaded.then_some("overloaded"));
                let standing = if node.draining || evacuated {
                    OwnerStanding::Leaving
                } else if why.is_empty() {
                    OwnerStanding::Open
                } else {
                    OwnerStanding::Cordoned
                };
                let member = ShardMember {
                    id: id.clone(),
                    weight: spec.weight(id),
                    standing,
                    why,
                    gone_since: node.gone_since,
                    overloaded_at: node.overloaded.then_some(self.now),
                    is_silent: node.silent && node.gone_since.is_none(),
                    restores: node.restores,
                    ..ShardMember::unknown(id)
                };
                (id.clone(), member)
            })
            .collect();
        spare_few(&mut members);
        for owner in self.shards.values().map(|value| value.owner.as_str()).filter(|owner| !owner.is_empty())
        {
            members.entry(owner.to_owned()).or_insert_with(|| ShardMember::unknown(owner));
        }
        members
    }

    fn decide(&self) -> NamespaceDecision {
        let (spec, members) = (self.rules(), self.members());
        let shards: Vec<(&str, &ShardValue)> =
            self.shards.iter().map(|(id, value)| (id.as_str(), value)).collect();
        let plans = self.plans.iter().map(|(id, value)| (id.as_str(), value)).collect();
        let released = self
            .released
            .iter()
            .chain(&self.taken_back)
            .map(|(node, shard, fence)| (node.as_str(), shard.as_str(), *fence));
        decide(&ControlScene {
            name: "ns",
            namespace: &self.namespace,
            spec: &spec,
            shards: &shards,
            members: &members,
            plans: &plans,
            released: &released.collect(),
            now: self.now,
            epoch: self.epoch,
        })
    }

    /// Carries out at most so many steps of a decision, as a controller does that dies then.
    fn carry_out(&mut self, decision: &NamespaceDecision, steps: usize) {
        for step in decision.steps.iter().take(steps) {
            match step {
                ControlStep::Enter(entered) => {
                    self.made += 1;
                    let id = format!("plan{:04}", self.made);
                    let mut entered = pb::RebalancePlan { plan_id: id.clone(), ..(**entered).clone() };
                    entered.started_at = (entered.state() == PlanState::Running).then(|| timestamp(self.now));
                    self.namespace.plan_id.clone_from(&id);
                    self.plans.insert(
                        id,
                        RebalancePlanValue { plan: Some(entered), ..RebalancePlanValue::default() },
                    );
                }
                ControlStep::Change(change) => self.change(change),
                ControlStep::End { plan, state, reason } => {
                    let value = self.plans.get_mut(plan).unwrap().plan.as_mut().unwrap();
                    value.set_state(*state);
                    reason.clone_into(&mut value.state_reason);
                    value.ended_at = Some(timestamp(self.now));
                    self.namespace.plan_ended = Some(timestamp(self.now));
                }
            }
        }
        self.namespace.set_state(decision.state);
    }

    fn change(&mut self, change: &ShardsDecision) {
        let mut edit = MapEdit::of("ns", &self.namespace, pb::ShardHistory::default());
        for (shard, deed) in &change.shards {
            let before = self.shards[shard].clone();
            let after = apply_action(&before, deed, &change.plan, "rendezvous", self.moment());
            if let ShardAction::Move { .. } = deed {
                self.check_move(shard, &before, &after);
            }
            edit.put(shard, Some(&before), Some(after.clone()));
            let seen = self.gate.entry(shard.clone()).or_default();
            *seen = after.fence_token.max(*seen);
            self.shards.insert(shard.clone(), after);
        }
        self.namespace = edit.value;
    }

    /// A shard gets another owner only when the one before serves it no more.
    fn check_move(&self, shard: &str, before: &ShardValue, after: &ShardValue) {
        let owner = &before.owner;
        let released = self.released.contains(&(owner.clone(), shard.to_owned(), before.fence_token));
        let gone = self.nodes.get(owner).is_none_or(|node| node.gone_since.is_some());
        assert!(
            owner.is_empty() || released || gone,
            "{shard} is taken from {owner}, which serves it: {before:?}, {:?}",
            self.decide()
        );
        assert!(after.fence_token > before.fence_token, "{shard}: the fence rises");
        assert!(
            self.nodes[&after.owner].gone_since.is_none(),
            "{shard} goes to {}, which is gone",
            after.owner
        );
    }

    /// Owners stop what they are to.
    fn release(&mut self) {
        for (shard, value) in &self.shards {
            let lives =
                self.nodes.get(&value.owner).is_some_and(|node| node.gone_since.is_none() && !node.silent);
            if !value.target.is_empty() && lives {
                self.released.insert((value.owner.clone(), shard.clone(), value.fence_token));
            }
        }
    }

    /// Goes on until nothing is left to do; how many decisions that took.
    fn settle(&mut self) -> usize {
        for round in 0..2000 {
            let decision = self.decide();
            if decision.steps.is_empty() {
                self.namespace.set_state(decision.state);
                // Moves that are so far apart.
                let soon = self.now.after(self.rules().policy.move_interval);
                if self.draining() == 0 && decision.again.is_none_or(|again| again > soon) {
                    return round;
                }
            }
            self.carry_out(&decision, usize::MAX);
            self.release();
            self.now = Millis(self.now.0 + 5);
        }
        panic!("it does not come to rest: {:?}", self.decide());
    }

    /// Decides once, and does all of it.
    fn step(&mut self) {
        let decision = self.decide();
        self.carry_out(&decision, usize::MAX);
    }

    /// How many shards their owners are to give up.
    fn draining(&self) -> usize {
        self.shards.values().filter(|value| !value.target.is_empty()).count()
    }

    fn owned(&self, node: &str) -> usize {
        self.shards.values().filter(|value| value.owner == node).count()
    }

    fn node(&mut self, id: &str) -> &mut Node {
        self.nodes.get_mut(id).unwrap()
    }

    fn states(&self) -> Vec<PlanState> {
        self.plans.values().filter_map(|value| value.plan.as_ref().map(pb::RebalancePlan::state)).collect()
    }
}

fn at_once() -> pb::RebalancePolicy {
    pb::RebalancePolicy {
        silent_after_ms: Some(0),
        cooldown_ms: Some(0),
        move_interval_ms: Some(0),
        balance: pb::rebalance_policy::Automation::Off.into(),
        ..pb::RebalancePolicy::default()
    }
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let world = World::new(3, 64, pb::RebalancePolicy::default());
    let decision = world.decide();
    assert_eq!((decision.steps.len(), decision.state), (0, State::Steady));
    assert_eq!(decision.again, None);
}

#[test]
fn shards_of_a_node_that_is_gone_get_owners_once_it_has_been_silent_for_long_enough() {
    let policy = pb::RebalancePolicy { silent_after_ms: Some(10_000), ..pb::RebalancePolicy::default() };
    let mut world = World::new(4, 64, policy);
    let had = world.owned("n1");
    world.node("n1").gone_since = Some(world.now);
    let waits = world.decide();
    assert_eq!((waits.steps.len(), waits.state), (0, State::Investigating));
    assert_eq!(waits.again, Some(world.now.after(Duration::from_secs(10))), "and it is known until when");
    world.now = waits.again.unwrap();
    let before: BTreeMap<String, String> =
        world.shards.iter().map(|(id, value)| (id.clone(), value.owner.clone())).collect();
    world.settle();
    assert_eq!(world.owned("n1"), 0);
    let moved = world.shards.iter().filter(|(id, value)| value.owner != before[*id]).count();
    assert_eq!(moved, had, "and nothing else moves");
    assert_eq!(world.states(), [PlanState::Completed]);
}

#[test]
fn one_that_is_back_in_time_keeps_what_it_had() {
    let policy = pb::RebalancePolicy { silent_after_ms: Some(10_000), ..pb::RebalancePolicy::default() };
    let mut world = World::new(3, 30, policy);
    world.node("n0").gone_since = Some(world.now);
    world.now = Millis(world.now.0 + 9_000);
    assert!(world.decide().steps.is_empty());
    world.node("n0").gone_since = None;
    world.now = Millis(world.now.0 + 9_000);
    assert_eq!((world.decide().steps.len(), world.decide().state), (0, State::Steady));
}

#[test]
fn who_drains_stops_before_another_begins_and_no_more_than_may_at_once() {
    let mut world = World::new(4, 100, pb::RebalancePolicy { max_parallel_moves: Some(4), ..at_once() });
    world.node("n2").draining = true;
    world.step();
    let decision = world.decide();
    assert_eq!(decision.steps.len(), 1);
    world.carry_out(&decision, usize::MAX);
    assert_eq!((world.draining(), world.owned("n2") > 20), (4, true));
    let waits = world.decide();
    assert_eq!((waits.steps.len(), waits.state), (0, State::Draining), "nobody has stopped");
    world.release();
    world.settle();
    assert_eq!((world.owned("n2"), world.draining()), (0, 0));
}

#[test]
fn how_long_an_owner_takes_is_not_waited_for_again() {
    let policy =
        pb::RebalancePolicy { move_interval_ms: Some(100), max_parallel_moves: Some(4), ..at_once() };
    let mut world = World::new(3, 30, policy);
    world.node("n0").draining = true;
    for _ in 0..100 {
        world.step();
        world.now = Millis(world.now.0 + 10);
    }
    assert_eq!(world.draining(), 4);
    world.release();
    for _ in 0..2 {
        world.step();
    }
    assert_eq!(world.draining(), 1, "the next one begins as those before have gone");
}

#[test]
fn owners_give_up_shards_as_far_apart_as_the_policy_says() {
    let policy = pb::RebalancePolicy { move_interval_ms: Some(100), ..at_once() };
    let mut world = World::new(3, 30, policy);
    world.now = world.now.after(Duration::from_secs(1));
    world.node("n0").draining = true;
    let mut begun: Vec<Millis> = Vec::new();
    while world.owned("n0") > 0 {
        let decision = world.decide();
        let drains = |step: &ControlStep| match step {
            ControlStep::Change(change) => {
                change.shards.iter().filter(|(_, deed)| matches!(deed, ShardAction::Drain { .. })).count()
            }
            _ => 0,
        };
        let drained = decision.steps.iter().map(drains).sum::<usize>();
        assert!(drained <= 1, "{decision:?}");
        begun.extend((drained == 1).then_some(world.now));
        assert!(!decision.steps.is_empty() || decision.again.is_some(), "it is known when there is more");
        world.carry_out(&decision, usize::MAX);
        world.release();
        world.now = Millis(world.now.0 + 5);
        assert!(begun.len() < 30);
    }
    assert!(begun.len() > 5 && begun.windows(2).all(|pair| pair[1].0 >= pair[0].0 + 100), "{begun:?}");
    // What nobody serves waits for nothing.
    world.node("n1").gone_since = Some(world.now);
    let at = world.now;
    world.settle();
    assert!(world.owned("n1") == 0 && world.now.0 < at.0 + 100);
}

#[test]
fn suspicion_moves_nothing_and_gets_nothing() {
    let mut world = World::new(4, 64, at_once());
    world.node("n0").suspect = true;
    assert_eq!((world.decide().steps.len(), world.decide().state), (0, State::Investigating));
    world.node("n3").gone_since = Some(world.now);
    let had = world.owned("n0");
    world.settle();
    assert_eq!((world.owned("n0"), world.owned("n3")), (had, 0));
}

#[test]
fn the_brake_holds_parks_and_lets_go() {
    let mut world = World::new(6, 60, pb::RebalancePolicy { brake_ms: Some(60_000), ..at_once() });
    for node in ["n0", "n1", "n2", "n3"] {
        world.node(node).gone_since = Some(world.now);
    }
    let decision = world.decide();
    assert_eq!(decision.state, State::Investigating);
    assert!(decision.reason.contains("the brake holds"), "{}", decision.reason);
    world.carry_out(&decision, usize::MAX);
    assert!(world.plans.is_empty());
    let parked = world.shards.values().filter(|value| value.parked).count();
    assert_eq!(parked, ["n0", "n1", "n2", "n3"].iter().map(|node| world.owned(node)).sum::<usize>());
    // One of them is back: it goes on with what it had.
    world.node("n3").gone_since = None;
    world.step();
    assert!(
        world
            .shards
            .values()
            .all(|value| value.parked
                != (value.owner == "n3" || world.nodes[&value.owner].gone_since.is_none()))
    );
    world.now = Millis(world.now.0 + 60_001);
    world.settle();
    assert!(
        world.shards.values().all(|value| world.nodes[&value.owner].gone_since.is_none() && !value.parked)
    );
}

#[test]
fn without_anybody_shards_wait_and_get_owners_when_somebody_comes() {
    let mut world = World::new(2, 10, at_once());
    world.node("n0").gone_since = Some(world.now);
    world.node("n1").gone_since = Some(world.now);
    world.spec.policy.as_mut().unwrap().brake_percent = Some(100.0);
    let decision = world.decide();
    assert_eq!(decision.state, State::Investigating);
    assert!(decision.reason.contains("minHealthyNodes"), "{}", decision.reason);
    world.settle();
    assert!(world.shards.values().all(|value| value.parked));
    world.nodes.insert("n9".to_owned(), Node::default());
    world.settle();
    assert_eq!(world.owned("n9"), 10);
    assert!(world.shards.values().all(|value| !value.parked));
}

#[test]
fn plans_that_wait_are_superseded_by_another_map_and_one_with_a_dead_target_fails() {
    let mut world = World::new(
        3,
        30,
        pb::RebalancePolicy { balance: pb::rebalance_policy::Automation::Propose.into(), ..at_once() },
    );
    world.nodes.insert("n9".to_owned(), Node::default());
    world.step();
    assert_eq!((world.states(), world.decide().state), (vec![PlanState::Proposed], State::RebalancePending));
    world.namespace.map_version += 1;
    let decision = world.decide();
    assert!(matches!(decision.steps.first(), Some(ControlStep::End { state: PlanState::Superseded, .. })));
    world.carry_out(&decision, 1);
    world.step();
    let id = world.namespace.plan_id.clone();
    let running = world.plans.get_mut(&id).unwrap().plan.as_mut().unwrap();
    running.set_state(PlanState::Running);
    running.started_at = Some(timestamp(Millis(1)));
    world.step();
    assert!(world.shards.values().any(|value| value.target == "n9"));
    world.node("n9").gone_since = Some(world.now);
    world.settle();
    let ended = world.plans[&id].plan.clone().unwrap();
    assert_eq!(ended.state(), PlanState::Failed, "{ended:?}");
    assert!(ended.state_reason.contains("n9 is dead"), "{}", ended.state_reason);
    assert!(world.shards.values().all(|value| value.target.is_empty()));
}

#[test]
fn a_plan_that_is_cancelled_leaves_shards_where_they_are() {
    let mut world = World::new(3, 30, at_once());
    world.node("n0").draining = true;
    for _ in 0..2 {
        world.step();
    }
    let (had, id) = (world.owned("n0"), world.namespace.plan_id.clone());
    // One may have stopped already: it begins anew, with another fence.
    let stopped = world.shards.iter().find(|(_, value)| !value.target.is_empty()).unwrap();
    let (stopped, fence) = (stopped.0.clone(), stopped.1.fence_token);
    world.released.insert(("n0".to_owned(), stopped.clone(), fence));
    world.node("n0").draining = false;
    world.plans.get_mut(&id).unwrap().plan.as_mut().unwrap().set_state(PlanState::Cancelled);
    world.settle();
    assert_eq!(world.owned("n0"), had);
    assert!(world.shards.values().all(|value| value.target.is_empty()));
    assert!(world.shards[&stopped].fence_token > fence);
}

#[test]
fn a_shard_that_was_paused_moves_only_where_its_owner_must_give_it_up() {
    for (cause, is_moved) in [("balance", false), ("owner_leaves", true), ("unowned", true)] {
        pause_in_the_middle(cause, is_moved);
    }
}

/// The last move of a plan, for this cause, of a shard that is paused before its turn.
fn pause_in_the_middle(cause: &str, is_moved: bool) {
    use pb::rebalance_policy::Automation;
    let balance = Automation::Automatic.into();
    let mut world =
        World::new(3, 90, pb::RebalancePolicy { max_parallel_moves: Some(1), balance, ..at_once() });
    world.nodes.insert("n9".to_owned(), Node::default());
    world.step();
    let plan = world.plans.get_mut(&world.namespace.plan_id).unwrap().plan.as_mut().unwrap();
    plan.automatic = false;
    cause.clone_into(&mut plan.moves.last_mut().unwrap().cause);
    let plan = plan.clone();
    let last = plan.moves.last().unwrap();
    world.shards.get_mut(&last.shard_id).unwrap().paused = true;
    world.spec.policy.as_mut().unwrap().balance = Automation::Off.into();
    world.settle();
    let expected = if is_moved { &last.to } else { &last.from };
    assert_eq!(&world.shards[&last.shard_id].owner, expected, "{cause}");
    let ended = world.plans[&plan.plan_id].plan.clone().unwrap();
    assert_eq!((ended.state(), ended.state_reason.is_empty()), (PlanState::Completed, is_moved), "{cause}");
    // Once the node goes it moves all the same.
    world.node(&last.from).draining = true;
    world.settle();
    assert!(world.shards[&last.shard_id].paused && world.owned(&last.from) == 0);
}

#[test]
fn weights_are_in_the_tests_what_they_are_in_the_rules() {
    assert_eq!(World::new(1, 1, at_once()).members()["n0"].weight, Weight::ONE);
}

#[test]
fn a_shard_goes_on_with_its_owner_while_the_one_to_follow_is_in_doubt() {
    use pb::rebalance_policy::Automation;
    let balance = Automation::Automatic.into();
    let mut world = World::new(3, 90, pb::RebalancePolicy { balance, ..at_once() });
    world.nodes.insert("n9".to_owned(), Node::default());
    while world.shards.values().all(|value| value.target.is_empty()) {
        world.step();
    }
    // They have stopped, and nobody serves what they had.
    world.release();
    world.node("n9").suspect = true;
    world.settle();
    assert!(world.shards.values().all(|value| value.target.is_empty() && value.owner != "n9"));
    assert_eq!(world.states(), [PlanState::Running], "it is not given up");
    world.node("n9").suspect = false;
    world.settle();
    assert!(world.owned("n9") > 0 && world.states().iter().all(|state| *state == PlanState::Completed));
}

#[test]
fn what_the_controller_began_for_a_node_that_is_back_is_not_gone_on_with() {
    let mut world = World::new(4, 80, pb::RebalancePolicy { max_parallel_moves: Some(2), ..at_once() });
    world.node("n0").gone_since = Some(world.now);
    for _ in 0..3 {
        world.step();
    }
    let left = world.owned("n0");
    assert!(left > 5, "{left}");
    world.node("n0").gone_since = None;
    world.settle();
    assert_eq!(world.owned("n0"), left, "it keeps what it still had");
    let plan = world.plans[&world.namespace.plan_id].plan.clone().unwrap();
    assert_eq!(plan.state(), PlanState::Completed, "{}", plan.state_reason);
    assert!(plan.state_reason.contains("not needed any more"), "{}", plan.state_reason);
}

#[test]
fn a_target_that_is_only_suspect_holds_nobody_up_whose_owner_is_gone() {
    let mut world = World::new(3, 30, at_once());
    world.node("n0").draining = true;
    for _ in 0..2 {
        world.step();
    }
    let target = world.shards.values().find(|value| !value.target.is_empty()).unwrap().target.clone();
    world.node(&target).suspect = true;
    world.node("n0").gone_since = Some(world.now);
    world.settle();
    assert_eq!(world.owned("n0"), 0);
}
