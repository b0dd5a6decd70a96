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

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

fn node(id: &str) -> RebalanceNode<'_> {
    let (weight, standing) = (Weight::ONE, OwnerStanding::Open);
    RebalanceNode { id, weight, region: "", zone: "", standing, capacity: None }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}{at}")).collect()
}

fn shards<'a>(ids: &'a [String], owner: impl Fn(usize) -> Option<&'a str>) -> Vec<RebalanceShard<'a>> {
    let of =
        |(at, id): (usize, &'a String)| RebalanceShard { id, owner: owner(at), hint: "", is_pinned: false };
    ids.iter().enumerate().map(of).collect()
}

/// Who owns what once the moves are made.
fn after<'a>(
    plan: &ShardMovePlan,
    shards: &[RebalanceShard<'a>],
    nodes: &[RebalanceNode<'a>],
) -> Vec<Option<&'a str>> {
    let mut owners: Vec<_> = shards.iter().map(|shard| shard.owner).collect();
    plan.moves.iter().for_each(|one| owners[one.shard] = Some(nodes[one.to].id));
    owners
}

/// What rules allow a node to have, computed another way than the planner does: shares are given out one unit of weight
/// after the other until nothing changes.
fn may_have(
    shards: &[RebalanceShard<'_>],
    nodes: &[RebalanceNode<'_>],
    rules: &RebalanceRules,
) -> Vec<usize> {
    let load = |node: &RebalanceNode<'_>| shards.iter().filter(|shard| shard.owner == Some(node.id)).count();
    let is_open = |node: &RebalanceNode<'_>| node.standing == OwnerStanding::Open && node.weight.milli() > 0;
    let takes = |node: &RebalanceNode<'_>| node.capacity.unwrap_or(usize::MAX);
    let mut fixed: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !is_open(node)) {
        fixed.insert(
            node.id,
            if node.standing == OwnerStanding::Leaving { 0 } else { load(node).min(takes(node)) },
        );
    }
    loop {
        let rest = shards.len().saturating_sub(fixed.values().sum::<usize>()) as f64;
        let free = || nodes.iter().filter(|node| !fixed.contains_key(node.id));
        let weights: f64 = free().map(|node| node.weight.number()).sum();
        let share = |node: &RebalanceNode<'_>| rest * node.weight.number() / weights;
        let full: Vec<_> = free().filter(|node| (takes(node) as f64) < share(node) - 1e-9).copied().collect();
        if full.is_empty() {
            let bound = |node: &RebalanceNode<'_>| {
                (share(node) * f64::from(rules.bound_milli) / 1000.0 - 1e-9).ceil()
            };
            return nodes
                .iter()
                .map(|node| {
                    fixed.get(node.id).copied().unwrap_or_else(|| (bound(node) as usize).min(takes(node)))
                })
                .collect();
        }
        fixed.extend(full.iter().map(|node| (node.id, takes(node))));
    }
}

/// Says what is wrong with a plan; it shares no code with what made it.
fn faults(
    plan: &ShardMovePlan,
    shards: &[RebalanceShard<'_>],
    nodes: &[RebalanceNode<'_>],
    rules: &RebalanceRules,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut wrong = |is: bool, what: String| {
        if is {
            faults.push(what);
        }
    };
    let most = may_have(shards, nodes, rules);
    let find = |id: &str| nodes.iter().position(|node| node.id == id);
    let has_home = |shard: &RebalanceShard<'_>| {
        shard.owner.and_then(find).is_some_and(|owner| nodes[owner].standing != OwnerStanding::Leaving)
    };
    let count = |node: &RebalanceNode<'_>| shards.iter().filter(|shard| shard.owner == Some(node.id)).count();
    let homeless = shards.iter().filter(|shard| !has_home(shard)).count();
    let staying = nodes.iter().zip(&most).filter(|(node, _)| node.standing != OwnerStanding::Leaving);
    let over: usize = staying.map(|(node, most)| count(node).saturating_sub(*most)).sum();
    wrong(
        plan.lower_bound != homeless + over,
        format!("bound {}, not {homeless} + {over}", plan.lower_bound),
    );
    let made = plan.moves.len() + plan.deferred + plan.unplaced.len();
    wrong(made != plan.lower_bound, format!("{made} are done, deferred or unplaced of {}", plan.lower_bound));
    let mut by_choice = 0;
    for one in &plan.moves {
        let (shard, to) = (&shards[one.shard], &nodes[one.to]);
        let from = shard.owner.and_then(find);
        wrong(one.from != from, format!("{one:?} is not from {from:?}"));
        wrong(from == Some(one.to), format!("{one:?} goes nowhere"));
        wrong(
            to.standing != OwnerStanding::Open || to.weight == Weight::ZERO,
            format!("{one:?} to who gets nothing"),
        );
        let forced = matches!(one.cause, MoveCause::Unowned | MoveCause::OwnerLeaves);
        wrong(forced == has_home(shard), format!("{one:?} is for another reason"));
        wrong(!forced && shard.is_pinned, format!("{one:?} is of a pinned shard"));
        by_choice += usize::from(one.cause == MoveCause::Balance);
    }
    let part = (shards.len() * rules.by_choice_milli as usize / 1000).max(1);
    wrong(by_choice > part, format!("{by_choice} by choice, and {part} may be"));
    let moved: std::collections::BTreeSet<_> = plan.moves.iter().map(|one| one.shard).collect();
    wrong(moved.len() != plan.moves.len(), "a shard moves twice".to_owned());
    let owners = after(plan, shards, nodes);
    for (at, node) in nodes.iter().enumerate() {
        let (has, had) = (owners.iter().filter(|owner| **owner == Some(node.id)).count(), count(node));
        wrong(has > most[at].max(had), format!("{} has {has} of {}", node.id, most[at]));
        wrong(
            plan.loads[at].most != most[at],
            format!("{} may have {}, not {:?}", node.id, most[at], plan.loads[at]),
        );
        let unmoved = node.standing == OwnerStanding::Leaving && has > 0;
        wrong(unmoved && plan.unplaced.is_empty(), format!("{} leaves and has {has}", node.id));
    }
    if !plan.unplaced.is_empty() {
        let room = nodes.iter().enumerate().any(|(at, node)| {
            let has = owners.iter().filter(|owner| **owner == Some(node.id)).count();
            node.standing == OwnerStanding::Open && node.weight > Weight::ZERO && has < most[at]
        });
        wrong(room, "there is room, and shards without an owner".to_owned());
    }
    faults
}

/// The fewest moves after which the rules hold, found by trying all that there are.
fn fewest(
    shards: &[RebalanceShard<'_>],
    nodes: &[RebalanceNode<'_>],
    rules: &RebalanceRules,
) -> Option<usize> {
    let most = may_have(shards, nodes, rules);
    let count = nodes.len().pow(shards.len() as u32);
    (0..count)
        .filter_map(|mut number| {
            let (mut loads, mut moves) = (vec![0; nodes.len()], 0);
            for shard in shards {
                let to = number % nodes.len();
                number /= nodes.len();
                loads[to] += 1;
                if shard.owner != Some(nodes[to].id) {
                    moves += 1;
                    let gets = nodes[to].standing == OwnerStanding::Open && nodes[to].weight > Weight::ZERO;
                    if !gets {
                        return None;
                    }
                }
            }
            loads.iter().zip(&most).all(|(load, most)| load <= most).then_some(moves)
        })
        .min()
}

#[test]
fn no_plan_has_fewer_moves() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (ids, shard_ids) = (names("n", 4), names("", 6));
    let rules = RebalanceRules { by_choice_milli: 1000, ..RebalanceRules::default() };
    let (mut solved, mut trials) = (0, 0);
    while trials < 400 {
        trials += 1;
        let mut nodes: Vec<RebalanceNode<'_>> =
            ids.iter().take(1 + dice.below(4)).map(|id| node(id)).collect();
        for node in &mut nodes {
            node.weight = Weight::of([0.0, 1.0, 1.0, 2.0][dice.below(4)]).unwrap();
            node.standing =
                [OwnerStanding::Open, OwnerStanding::Open, OwnerStanding::Cordoned, OwnerStanding::Leaving]
                    [dice.below(4)];
            node.capacity = dice.one_in(4).then(|| dice.below(5));
        }
        let owners: Vec<Option<&str>> =
            (0..6).map(|_| (!dice.one_in(4)).then(|| ids[dice.below(4)].as_str())).collect();
        let shards = shards(&shard_ids[..1 + dice.below(6)], |at| owners[at]);
        let plan = plan("ns", &shards, &nodes, &rules);
        let found = faults(&plan, &shards, &nodes, &rules);
        assert!(found.is_empty(), "{found:?}\n{nodes:?}\n{shards:?}\n{plan:?}");
        if let Some(fewest) = fewest(&shards, &nodes, &rules) {
            solved += 1;
            assert_eq!(plan.moves.len(), fewest, "{nodes:?}\n{shards:?}\n{plan:?}");
        }
    }
    assert!(solved > 100, "{solved} of {trials} can be solved at all");
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let (ids, shard_ids) = (names("n", 3), names("", 30));
    let nodes: Vec<RebalanceNode<'_>> = ids.iter().map(|id| node(id)).collect();
    let shards = shards(&shard_ids, |at| (at > 0).then_some("n0"));
    let rules = RebalanceRules { by_choice_milli: 1000, ..RebalanceRules::default() };
    let right = plan("ns", &shards, &nodes, &rules);
    assert_eq!(faults(&right, &shards, &nodes, &rules), Vec::<String>::new());
    type Spoil = fn(&mut ShardMovePlan);
    let spoils: [(&str, Spoil); 6] = [
        ("one less", |plan| plan.moves.truncate(plan.moves.len() - 1)),
        ("one twice", |plan| plan.moves.push(plan.moves[0])),
        ("to itself", |plan| plan.moves[1].to = 0),
        ("another reason", |plan| plan.moves[0].cause = MoveCause::Balance),
        ("all to one", |plan| plan.moves.iter_mut().for_each(|one| one.to = 1)),
        ("another bound", |plan| plan.lower_bound -= 1),
    ];
    for (what, spoil) in spoils {
        let mut plan = right.clone();
        spoil(&mut plan);
        assert!(!faults(&plan, &shards, &nodes, &rules).is_empty(), "{what}");
    }
}

#[test]
fn plans_after_plans_come_to_rest_in_balance() {
    let (ids, shard_ids) = (names("n", 11), names("", 1000));
    let ten: Vec<RebalanceNode<'_>> = ids[..10].iter().map(|id| node(id)).collect();
    for strategy in PlacementStrategy::ALL {
        let rules = RebalanceRules { strategy, ..RebalanceRules::default() };
        let new = shards(&shard_ids, |_| None);
        let first = plan("ns", &new, &ten, &rules);
        assert_eq!((first.moves.len(), first.lower_bound, first.deferred), (1000, 1000, 0));
        assert!(first.loads.iter().all(|load| load.after <= 105), "{strategy:?}: {:?}", first.loads);
        let owners = after(&first, &new, &ten);
        let settled = shards(&shard_ids, |at| owners[at]);
        assert_eq!(plan("ns", &settled, &ten, &rules).moves, [], "{strategy:?}: it is at rest");

        // One that comes gets what others have above the bound, and nothing else moves.
        let eleven: Vec<RebalanceNode<'_>> = ids.iter().map(|id| node(id)).collect();
        let joined = plan("ns", &settled, &eleven, &rules);
        assert!(
            joined.moves.iter().all(|one| one.to == 10 && one.cause == MoveCause::Balance),
            "{strategy:?}"
        );
        assert_eq!((joined.moves.len(), joined.deferred), (joined.lower_bound, 0));

        // One that goes gives what it has, and nothing else moves.
        let mut nine = ten.clone();
        nine[3].standing = OwnerStanding::Leaving;
        let left = plan("ns", &settled, &nine, &rules);
        assert!(left.moves.iter().all(|one| one.from == Some(3) && one.cause == MoveCause::OwnerLeaves));
        assert_eq!((left.moves.len(), left.loads[3].after), (left.loads[3].before, 0));
        assert_eq!(faults(&left, &settled, &nine, &rules), Vec::<String>::new());
    }
}

#[test]
fn by_choice_no_plan_moves_more_than_its_part() {
    let (ids, shard_ids) = (names("n", 4), names("", 100));
    let nodes: Vec<RebalanceNode<'_>> = ids.iter().map(|id| node(id)).collect();
    let rules = RebalanceRules::default();
    let mut owners: Vec<Option<&str>> = vec![Some("n0"); 100];
    let mut rounds = 0;
    loop {
        let held = owners.clone();
        let shards = shards(&shard_ids, |at| held[at]);
        let plan = plan("ns", &shards, &nodes, &rules);
        assert_eq!(faults(&plan, &shards, &nodes, &rules), Vec::<String>::new());
        if plan.moves.is_empty() {
            break;
        }
        assert!(plan.moves.len() <= 10);
        owners = after(&plan, &shards, &nodes);
        rounds += 1;
    }
    // 100 less 27 that it may have, ten at a time.
    assert_eq!(rounds, 8);
}

#[test]
fn without_anybody_who_may_own_nothing_moves_and_that_is_said() {
    let shard_ids = names("", 3);
    let held = shards(&shard_ids, |_| Some("gone"));
    let cordoned = RebalanceNode { standing: OwnerStanding::Cordoned, ..node("a") };
    let weightless = RebalanceNode { weight: Weight::ZERO, ..node("b") };
    let full = RebalanceNode { capacity: Some(0), ..node("c") };
    for nodes in [vec![], vec![cordoned], vec![weightless], vec![full], vec![cordoned, weightless, full]] {
        let plan = plan("ns", &held, &nodes, &RebalanceRules::default());
        assert_eq!((plan.moves.len(), plan.unplaced.as_slice(), plan.lower_bound), (0, &[0, 1, 2][..], 3));
    }
    // What a cordoned node has stays there, and takes nothing from others.
    let shards = shards(&shard_ids, |_| Some("a"));
    let plan = plan("ns", &shards, &[cordoned, node("b")], &RebalanceRules::default());
    assert_eq!((plan.moves.len(), plan.lower_bound), (0, 0));
}

#[test]
fn pinned_shards_wait_and_those_whose_owner_goes_do_not() {
    let shard_ids = names("", 20);
    let mut held = shards(&shard_ids, |_| Some("a"));
    held.iter_mut().for_each(|shard| shard.is_pinned = true);
    let rules = RebalanceRules { by_choice_milli: 1000, ..RebalanceRules::default() };
    let both = [node("a"), node("b")];
    let waits = plan("ns", &held, &both, &rules);
    assert_eq!((waits.moves.len(), waits.deferred, waits.lower_bound), (0, 9, 9));
    let leaves = [RebalanceNode { standing: OwnerStanding::Leaving, ..node("a") }, node("b")];
    assert_eq!(plan("ns", &held, &leaves, &rules).moves.len(), 20);
}

#[test]
fn another_strategy_comes_about_by_choice_a_part_at_a_time() {
    let (ids, shard_ids) = (names("n", 5), names("", 200));
    let nodes: Vec<RebalanceNode<'_>> = ids.iter().map(|id| node(id)).collect();
    let new = shards(&shard_ids, |_| None);
    let first = plan("ns", &new, &nodes, &RebalanceRules::default());
    let mut owners = after(&first, &new, &nodes);
    let sticky = RebalanceRules { strategy: PlacementStrategy::Ring, ..RebalanceRules::default() };
    let held = owners.clone();
    let settled = shards(&shard_ids, |at| held[at]);
    assert_eq!(plan("ns", &settled, &nodes, &sticky).moves, [], "an owner keeps its shard");
    let rules = RebalanceRules { aligns: true, ..sticky };
    let whole = plan("ns", &settled, &nodes, &RebalanceRules { by_choice_milli: 1000, ..rules });
    assert!(whole.moves.len() > 100 && whole.moves.iter().all(|one| one.cause == MoveCause::Strategy));
    assert_eq!(whole.lower_bound, 0, "no constraint demands it");
    let mut rounds = 0;
    loop {
        let held = owners.clone();
        let shards = shards(&shard_ids, |at| held[at]);
        let step = plan("ns", &shards, &nodes, &rules);
        assert!(step.moves.len() <= 20 && step.loads.iter().all(|load| load.after <= load.most));
        if step.moves.is_empty() {
            assert_eq!(step.deferred, 0, "nothing is left that could move");
            break;
        }
        owners = after(&step, &shards, &nodes);
        rounds += 1;
        assert!(rounds <= 20, "it comes to rest");
    }
    assert!(rounds >= 5);
}

#[test]
fn of_a_plan_with_a_limit_constraints_come_first() {
    let (ids, shard_ids) = (names("n", 4), names("", 40));
    let mut nodes: Vec<RebalanceNode<'_>> = ids.iter().map(|id| node(id)).collect();
    nodes[3].standing = OwnerStanding::Leaving;
    let owner = |at: usize| Some(if at < 30 { "n0" } else { "n3" });
    let held = shards(&shard_ids, owner);
    let rules = RebalanceRules { by_choice_milli: 1000, moves_max: 12, ..RebalanceRules::default() };
    let some = plan("ns", &held, &nodes, &rules);
    assert_eq!((some.moves.len(), some.moves.len() + some.deferred), (12, some.lower_bound));
    assert_eq!(some.moves.iter().filter(|one| one.cause == MoveCause::OwnerLeaves).count(), 10);
    let few = plan("ns", &held, &nodes, &RebalanceRules { moves_max: 3, ..rules });
    assert!(few.moves.len() == 3 && few.moves.iter().all(|one| one.cause == MoveCause::OwnerLeaves));
    assert_eq!(few.loads[3].after, 7, "what waits is where it was");
    assert_eq!(plan("ns", &held, &nodes, &RebalanceRules { by_choice_milli: 0, ..rules }).moves.len(), 10);
}
