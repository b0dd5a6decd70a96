//! Nodes that come, or come back.

use super::*;

/// By default: a tenth of the shards in one plan, the owners one after the other.
#[test]
fn a_new_node_gets_shards_where_a_policy_says_nothing() {
    let mut world = World::new(3, 90, pb::RebalancePolicy::default());
    world.nodes.insert("n9".to_owned(), Node::default());
    world.settle();
    assert_eq!(world.owned("n9"), 9);
    world.now = world.now.after(Duration::from_secs(30));
    world.settle();
    assert_eq!(world.owned("n9"), 18, "and more once the first plan is over for a while");
}

/// A rolling restart: whoever is back has what it had, however much that is, and nothing else moves.
#[test]
fn shards_go_back_to_a_node_whose_drain_was_taken_back_so() {
    let mut world = World::new(4, 80, at_once());
    let owners = |world: &World| -> BTreeMap<String, String> {
        world.shards.iter().map(|(id, value)| (id.clone(), value.owner.clone())).collect()
    };
    let (before, drained) = (owners(&world), world.now);
    world.node("n2").draining = true;
    world.settle();
    assert_eq!(world.owned("n2"), 0);
    world.node("n2").draining = false;
    world.settle();
    assert_eq!(world.owned("n2"), 0, "nobody wished it");
    world.node("n2").restores = Some((drained, world.now));
    world.settle();
    assert_eq!(owners(&world), before);
    // What it loses after that is no matter of the drain.
    world.now = world.now.after(Duration::from_secs(60));
    world.node("n2").gone_since = Some(world.now);
    world.settle();
    world.node("n2").gone_since = None;
    world.settle();
    assert_eq!(world.owned("n2"), 0);
}

#[test]
fn a_node_that_comes_does_not_wait_for_what_had_to_move() {
    let policy = pb::RebalancePolicy {
        balance: pb::rebalance_policy::Automation::Automatic.into(),
        cooldown_ms: Some(60_000),
        ..at_once()
    };
    let mut world = World::new(4, 64, policy);
    world.node("n1").gone_since = Some(world.now);
    world.settle();
    assert_eq!((world.owned("n1"), world.states()), (0, vec![PlanState::Completed]));
    let at = world.now;
    world.node("n1").gone_since = None;
    world.settle();
    assert!(world.owned("n1") > 0 && world.now < at.after(Duration::from_secs(60)), "{}", world.owned("n1"));
    // The next by choice waits for that one.
    let before = world.owned("n1");
    let decision = world.decide();
    assert!(decision.steps.is_empty() && decision.again.is_some_and(|again| again > world.now), "{before}");
}
