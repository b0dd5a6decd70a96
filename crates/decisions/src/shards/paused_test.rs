//! Plans that somebody has paused.

use super::*;

#[test]
fn a_plan_that_is_paused_holds_nobody_up_whose_owner_is_gone() {
    let mut world = World::new(4, 40, at_once());
    world.node("n0").draining = true;
    world.step();
    let id = world.namespace.plan_id.clone();
    world.plans.get_mut(&id).unwrap().plan.as_mut().unwrap().set_state(PlanState::Paused);
    assert!(world.decide().steps.is_empty() || world.owned("n0") > 0);
    world.node("n0").gone_since = Some(world.now);
    world.settle();
    assert_eq!(world.owned("n0"), 0);
    assert!(world.shards.values().all(|value| value.target.is_empty() && !value.parked));
}

#[test]
fn a_plan_that_is_paused_stays_so_while_its_owner_drains_and_ends_what_it_has_begun() {
    let mut world = World::new(4, 80, pb::RebalancePolicy { max_parallel_moves: Some(2), ..at_once() });
    world.node("n0").draining = true;
    for _ in 0..3 {
        world.step();
    }
    let id = world.namespace.plan_id.clone();
    world.plans.get_mut(&id).unwrap().plan.as_mut().unwrap().set_state(PlanState::Paused);
    world.settle();
    let left = world.owned("n0");
    assert!(left > 0 && world.shards.values().all(|value| value.target.is_empty()), "{left}");
    assert_eq!(world.states(), [PlanState::Paused], "no other plan is made for them");
    world.plans.get_mut(&id).unwrap().plan.as_mut().unwrap().set_state(PlanState::Running);
    world.settle();
    assert_eq!((world.owned("n0"), world.states()), (0, vec![PlanState::Completed]));
}
