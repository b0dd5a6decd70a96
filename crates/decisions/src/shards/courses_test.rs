//! Whole courses: nodes that come and go between any two steps, and registries that become older ones.

use super::*;

/// Numbers that look like chance, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Whatever happens between any two steps, a controller that dies within a decision and a registry that becomes an older one among it,
/// no shard is taken from who serves it, fences rise, and in the end all is owned by who lives, and no plan is left.
#[test]
fn whatever_happens_between_steps_it_ends_with_owners_that_live() {
    for seed in 1..=300u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let policy = pb::RebalancePolicy {
            max_parallel_moves: Some(1 + dice.below(20) as u32),
            brake_ms: Some(2_000),
            silent_after_ms: Some([0, 500][dice.below(2)]),
            move_interval_ms: Some([0, 10][dice.below(2)]),
            balance: [0, 3][dice.below(2)],
            relief: [0, 3][dice.below(2)],
            overloaded_after_ms: Some(0),
            min_healthy_nodes: Some(1 + dice.below(2) as u32),
            ..at_once()
        };
        let mut world = World::new(3 + dice.below(5), 20 + dice.below(60) as u32, policy);
        let mut copy = world.copied();
        for _ in 0..120 {
            let ids: Vec<String> = world.nodes.keys().cloned().collect();
            let id = ids[dice.below(ids.len())].clone();
            // No shard is fenced twice in a millisecond for long.
            world.now = Millis(world.now.0 + 5);
            let now = world.now;
            match dice.below(16) {
                0 => world.node(&id).gone_since = Some(now),
                1 => *world.node(&id) = Node::default(),
                2 => world.node(&id).draining ^= true,
                3 => world.node(&id).suspect ^= true,
                4 => world.node(&id).cordoned ^= true,
                5 => drop(world.nodes.insert(format!("m{}", dice.below(3)), Node::default())),
                6 => {
                    let running: Vec<String> = world.plans.keys().cloned().collect();
                    if !running.is_empty() {
                        let plan = world.plans.get_mut(&running[dice.below(running.len())]).unwrap();
                        let plan = plan.plan.as_mut().unwrap();
                        if plan.state() == PlanState::Running {
                            plan.set_state([PlanState::Cancelled, PlanState::Paused][dice.below(2)]);
                        } else if plan.state() == PlanState::Paused {
                            plan.set_state(PlanState::Running);
                        }
                    }
                }
                7 => world.release(),
                8 => world.now = Millis(now.0 + 400),
                9 => world.node(&id).overloaded ^= true,
                10 => copy = world.copied(),
                11 if dice.below(4) == 0 => world.restore(&copy),
                _ => {
                    let decision = world.decide();
                    world.carry_out(&decision, dice.below(4));
                }
            }
        }
        comes_to_rest(&mut world, seed);
    }
}

/// Once somebody lives and nothing is doubted, all is owned by who lives, under fences that no gate refuses, and no plan is left.
fn comes_to_rest(world: &mut World, seed: u64) {
    for value in world.plans.values_mut().filter_map(|value| value.plan.as_mut()) {
        if value.state() == PlanState::Paused {
            value.set_state(PlanState::Running);
        }
    }
    ["n0", "n1"].iter().for_each(|node| *world.node(node) = Node::default());
    world.nodes.values_mut().for_each(|node| node.suspect = false);
    world.now = Millis(world.now.0 + 10_000);
    world.settle();
    for (shard, value) in &world.shards {
        let owner = world.nodes[&value.owner];
        assert!(
            owner.gone_since.is_none() && !owner.draining,
            "seed {seed}: {shard} is with {}",
            value.owner
        );
        assert!(value.target.is_empty() && !value.parked, "seed {seed}: {shard} waits");
        let seen = world.gate.get(shard).copied().unwrap_or_default();
        assert!(value.fence_token >= seen, "seed {seed}: writes of {shard} are refused below {seen}");
    }
    let live =
        world.states().into_iter().filter(|state| matches!(state, PlanState::Running | PlanState::Paused));
    assert_eq!(live.count(), 0, "seed {seed}");
}

#[test]
fn in_a_new_epoch_all_that_is_owned_is_fenced_anew_before_anything_else() {
    let mut world = World::new(3, 30, pb::RebalancePolicy { max_parallel_moves: Some(8), ..at_once() });
    let copy = world.copied();
    world.node("n0").draining = true;
    world.settle();
    let gate = world.gate.clone();
    assert!(!gate.is_empty());
    world.restore(&copy);
    let decision = world.decide();
    let [ControlStep::Change(change)] = &*decision.steps else { panic!("{decision:?}") };
    assert_eq!((change.cause.as_str(), change.shards.len()), ("new_epoch", 30));
    world.carry_out(&decision, 1);
    for (shard, value) in &world.shards {
        assert!(value.fence_token > copy.1[shard].fence_token && Some(&value.fence_token) > gate.get(shard));
        assert_eq!(value.owner, copy.1[shard].owner);
    }
    // What was stopped in the epoch before counts for nothing.
    let mut asked = world.decide();
    for _ in 0..3 {
        world.carry_out(&asked, usize::MAX);
        asked = world.decide();
    }
    assert_eq!((world.owned("n0") > 0, asked.state), (true, State::Draining), "nobody has stopped");
    world.settle();
    assert_eq!(world.owned("n0"), 0);
}
