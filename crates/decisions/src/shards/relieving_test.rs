//! Nodes that have too much to do.

use super::*;

#[test]
fn a_node_that_has_too_much_to_do_gives_a_part_to_others_and_gets_none() {
    let relief = pb::rebalance_policy::Automation::Automatic.into();
    let policy = pb::RebalancePolicy { relief, overloaded_after_ms: Some(0), ..at_once() };
    let mut world = World::new(4, 80, policy);
    let had = world.owned("n0");
    world.node("n0").overloaded = true;
    let decision = world.decide();
    let entered = decision.steps.iter().find_map(|step| match step {
        ControlStep::Enter(plan) => Some(plan),
        _ => None,
    });
    let moves = &entered.unwrap().moves;
    assert_eq!(moves.len(), had / 10, "a tenth of what it has: {moves:?}");
    assert!(moves.iter().all(|one| one.cause == "load" && one.from == "n0" && one.to != "n0"), "{moves:?}");
    // While it has too much to do nothing comes back, whatever becomes of others.
    world.node("n1").draining = true;
    world.settle();
    assert!(world.owned("n0") < had, "{} of {had}", world.owned("n0"));
    assert_eq!(world.owned("n1"), 0);
    // One shard may be what makes all the work: it is left with half of what each would have.
    world.node("n1").draining = false;
    world.settle();
    assert_eq!(world.owned("n0"), 80 / 4 / 2);
}

#[test]
fn much_to_do_holds_up_no_move_that_must_be_made() {
    let policy =
        pb::RebalancePolicy { min_healthy_nodes: Some(3), overloaded_after_ms: Some(0), ..at_once() };
    let mut world = World::new(5, 50, policy);
    world.node("n0").gone_since = Some(world.now);
    world.step();
    world.node("n1").overloaded = true;
    world.settle();
    assert_eq!(world.owned("n0"), 0);
    assert!(world.states().into_iter().all(|state| state == PlanState::Completed), "{:?}", world.states());
    // Nor where two of the four that are left have too much to do when the next one goes.
    world.node("n2").overloaded = true;
    world.node("n3").draining = true;
    world.settle();
    assert_eq!(world.owned("n3"), 0);
}

#[test]
fn a_relief_that_somebody_refused_is_not_proposed_again_at_once() {
    let relief = pb::rebalance_policy::Automation::Propose.into();
    let policy =
        pb::RebalancePolicy { relief, overloaded_after_ms: Some(0), cooldown_ms: Some(60_000), ..at_once() };
    let mut world = World::new(3, 30, policy);
    world.node("n0").overloaded = true;
    world.step();
    let id = world.plans.keys().next().unwrap().clone();
    let now = world.now;
    let plan = world.plans.get_mut(&id).unwrap().plan.as_mut().unwrap();
    assert_eq!(plan.state(), PlanState::Proposed);
    plan.set_state(PlanState::Rejected);
    plan.ended_at = Some(timestamp(now));
    assert!(world.decide().steps.is_empty(), "{:?}", world.decide().steps);
    world.now = now.after(Duration::from_secs(60));
    assert!(!world.decide().steps.is_empty());
}
