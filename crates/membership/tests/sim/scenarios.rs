//! Scenarios of a mesh: partitions, members that are starved or lie, links that let nothing through in one direction.

use std::time::Duration;

use omnirelay_membership::{
    Config, MemberClaim, MemberStatus, MemberUpdate, MembershipEvent, NodeId, Packet, PacketMessage,
};

use crate::world::{Network, World};
use crate::{is, lan, ms, seconds, settled, settled_with};

/// How many members there are where nothing else is said.
const MEMBERS: usize = 60;

/// Who was found dead by whom, of those that `counts`.
fn deaths(world: &World, counts: impl Fn(&NodeId) -> bool) -> usize {
    world.deaths(counts)
}

/// Whether everybody has everybody else alive.
fn all_alive(world: &World) -> bool {
    let up = world.up();
    up.iter().all(|node| world.has(node, is(MemberStatus::Alive)) == (up.len() - 1, up.len() - 1))
}

/// How long it takes until everybody has everybody else alive; what they keep for what is to be done is bounded.
fn healed(world: &mut World, within: Duration) -> Duration {
    for node in world.up() {
        let (kept, known) = (world.view(&node).pending(), world.view(&node).members().len());
        assert!(kept <= known * 4 + 50, "{node}: {kept} of {known} members");
    }
    let took = world.run_while(within, |world| !all_alive(world));
    took.unwrap_or_else(|| {
        let up = world.up();
        let worst = up.iter().map(|node| (node, world.has(node, is(MemberStatus::Alive))));
        panic!("not healed within {within:?}: {:?}", worst.collect::<Vec<_>>())
    })
}

/// Half of all see nothing of the other half for so long.
fn partition(count: usize, during: Duration) {
    let mut world = settled(1, count, lan(0.01));
    // They have each other's names alone.
    world.has_seeds = false;
    let number = |node: &NodeId| node.as_str()[5..].parse::<u32>().unwrap();
    world.part(|node| u32::from(number(node) % 3 == 0));
    world.run(during);
    let (dead, all) = world.has(&World::name(0), is(MemberStatus::Dead));
    assert!(dead > all / 2, "{dead} of {all}");
    world.heal();
    let took = healed(&mut world, seconds(60));
    world.told.clear();
    world.run(seconds(60));
    println!(
        "{count} members, parted for {during:?}: healed after {took:?}; deaths after that: {}",
        deaths(&world, |_| true)
    );
    assert_eq!(deaths(&world, |_| true), 0);
}

#[test]
fn a_partition_heals_within_two_exchanges() {
    partition(MEMBERS, seconds(600));
}

#[test]
#[ignore = "a day and an hour, of some minutes"]
fn a_partition_of_25_hours_heals_within_two_exchanges() {
    partition(MEMBERS, seconds(25 * 3600));
}

#[test]
fn who_is_starved_has_nobody_found_dead() {
    let mut world = settled(2, MEMBERS, lan(0.01));
    let starved: Vec<_> = (0..MEMBERS / 10).map(World::name).collect();
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..200 {
        for node in &starved {
            if rng.bool() {
                world.pause(node, ms(rng.u64(200..2500)));
            }
        }
        world.run(seconds(3));
    }
    let healthy = deaths(&world, |node| !starved.contains(node));
    println!(
        "10 % starved for ten minutes: {healthy} deaths of others, {} of them, {:?}",
        deaths(&world, |node| starved.contains(node)),
        world.stats()
    );
    assert_eq!(healthy, 0);
    healed(&mut world, seconds(60));
}

#[test]
fn who_slept_accuses_nobody() {
    let mut world = settled(9, MEMBERS, lan(0.05));
    for number in 0..MEMBERS {
        let sleeper = World::name(number);
        world.pause(&sleeper, seconds(20));
        world.run(seconds(20));
        world.told.clear();
        world.run(seconds(3));
        let accuses = |(_, by, event): &&(_, NodeId, MembershipEvent)| {
            *by == sleeper
                && matches!(
                    event,
                    MembershipEvent::Suspected { evidence: Some(_), .. } | MembershipEvent::Died { .. }
                )
        };
        assert_eq!(world.told.iter().find(accuses), None);
        // What is lost is made up for by the next exchange.
        healed(&mut world, seconds(60));
    }
}

#[test]
fn who_is_reached_over_streams_alone_is_alive() {
    let mut world = settled(10, MEMBERS, lan(0.01));
    let node = World::name(11);
    world.streams_alone.insert(node.clone());
    world.told.clear();
    world.run(seconds(300));
    let suspected =
        |event: &MembershipEvent| matches!(event, MembershipEvent::Suspected { node: of, .. } if *of == node);
    let told =
        |is: &dyn Fn(&MembershipEvent) -> bool| world.told.iter().filter(|(_, _, event)| is(event)).count();
    let alone = told(&|event| matches!(event, MembershipEvent::StreamsAlone { node: of } if *of == node));
    println!("five minutes without datagrams: told {alone} times, suspected {} times", told(&suspected));
    assert!(alone > 50 && told(&suspected) < 20 && deaths(&world, |_| true) == 0);
}

#[test]
fn pings_that_get_nowhere_are_told_of_although_others_get_through() {
    let mut world = settled(12, 10, lan(0.01));
    let (from, to) = (World::name(3), World::name(7));
    world.no_datagrams.insert((from.clone(), to.clone()));
    world.told.clear();
    world.run(seconds(120));
    let alone = |(_, by, event): &&(_, NodeId, MembershipEvent)| match event {
        // Nor do answers to pings of the other.
        MembershipEvent::StreamsAlone { node } => (by, node) == (&from, &to) || (by, node) == (&to, &from),
        _ => false,
    };
    let count = world.told.iter().filter(alone).filter(|(_, by, _)| *by == from).count();
    assert!(count >= 2, "every third ping: {count}");
    let others = world
        .told
        .iter()
        .filter(|told| matches!(told.2, MembershipEvent::StreamsAlone { .. }) && !alone(told));
    assert_eq!(others.count(), 0);
    assert_eq!(deaths(&world, |_| true), 0);
}

#[test]
fn two_that_do_not_reach_each_other_say_so_and_nobody_is_suspected() {
    let mut world = settled(13, 10, lan(0.0));
    let (one, other) = (World::name(3), World::name(7));
    world.cut(&one, &other);
    world.cut(&other, &one);
    world.told.clear();
    world.run(seconds(120));
    let told = |by: &NodeId, event: &MembershipEvent| {
        world.told.iter().filter(|told| told.1 == *by && told.2 == *event).count()
    };
    let through = |node: &NodeId| MembershipEvent::ThroughOthers { node: node.clone() };
    assert_eq!((told(&one, &through(&other)), told(&other, &through(&one))), (1, 1));
    assert!(
        !world
            .told
            .iter()
            .any(|told| matches!(told.2, MembershipEvent::Suspected { .. } | MembershipEvent::Died { .. }))
    );
    world.heal();
    world.run(seconds(60));
    let reached = |node: &NodeId| MembershipEvent::Reached { node: node.clone() };
    let told = |by: &NodeId, event: &MembershipEvent| {
        world.told.iter().filter(|told| told.1 == *by && told.2 == *event).count()
    };
    assert_eq!((told(&one, &reached(&other)), told(&other, &reached(&one))), (1, 1));
    assert_eq!(told(&one, &through(&other)), 1);
}

#[test]
fn all_but_one_start_again_at_once() {
    let mut world = settled(3, MEMBERS, lan(0.01));
    for number in 1..MEMBERS {
        world.kill(&World::name(number));
    }
    world.run(ms(200));
    for number in 1..MEMBERS {
        world.start(&World::name(number));
    }
    let took = healed(&mut world, seconds(30));
    world.told.clear();
    world.run(seconds(60));
    println!("all but one started again: known after {took:?}");
    assert_eq!(deaths(&world, |_| true), 0);
}

#[test]
fn who_leaves_and_is_back_within_a_second_is_alive() {
    let mut world = settled(4, MEMBERS, lan(0.01));
    let node = World::name(7);
    world.leave(&node);
    world.run(ms(300));
    world.kill(&node);
    world.run(ms(400));
    world.start(&node);
    let took = healed(&mut world, seconds(10));
    println!("left and back: alive everywhere after {took:?}");
    world.told.clear();
    world.run(seconds(60));
    assert_eq!(world.told.len(), 0, "{:?}", world.told);
}

#[test]
fn links_that_let_nothing_through_in_one_direction_kill_nobody() {
    let mut world = settled(5, MEMBERS, lan(0.01));
    let mut rng = fastrand::Rng::with_seed(5);
    let mut any = || World::name(rng.usize(..MEMBERS));
    for _ in 0..100 {
        let (from, to) = (any(), any());
        world.cut(&from, &to);
    }
    world.run(seconds(600));
    println!("a hundred links cut in one direction for ten minutes: {:?}", world.stats());
    assert_eq!(deaths(&world, |_| true), 0);
    world.heal();
    healed(&mut world, seconds(10));
}

#[test]
fn links_that_come_and_go_kill_nobody() {
    let mut world = settled(6, MEMBERS, lan(0.05));
    let mut rng = fastrand::Rng::with_seed(6);
    let one = World::name(9);
    for _ in 0..60 {
        let others: Vec<_> = (0..20).map(|_| World::name(rng.usize(..MEMBERS))).collect();
        for other in &others {
            world.cut(&one, other);
            world.cut(other, &one);
        }
        world.run(seconds(5));
        for other in &others {
            world.uncut(&one, other);
            world.uncut(other, &one);
        }
        world.run(seconds(5));
    }
    assert_eq!(deaths(&world, |_| true), 0);
}

/// What a liar says of somebody, a minute long, to everybody ten times a second.
fn lies(seed: u64, what: &str, claims: impl Fn(u64) -> Vec<(u64, MemberClaim)>) {
    let mut world = settled(seed, MEMBERS, lan(0.01));
    let (liar, victim) = (World::name(3), World::name(4));
    let body = world.view(&victim).own().record.body.clone();
    for round in 0..600_u64 {
        let now = world.view(&victim).own().incarnation;
        let updates = claims(round).into_iter().map(|(ahead, claim)| {
            let (node, incarnation) = (victim.clone(), now + ahead);
            MemberUpdate { node, incarnation, claim }
        });
        let updates = updates.collect();
        let packet =
            Packet { message: PacketMessage::Gossip, incarnation: 0, version: 0, health: 0, updates };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        for number in (0..MEMBERS).filter(|number| ![3, 4].contains(number)) {
            world.deliver(&liar, &World::name(number), bytes.clone());
        }
        world.run(ms(100));
    }
    println!("a minute of lies, {what}: {} deaths, {:?}", deaths(&world, |_| true), world.stats());
    assert_eq!(deaths(&world, |_| true), 0, "{what}");
    healed(&mut world, seconds(30));
    let knows = |member: Option<&omnirelay_membership::Member>| {
        member.is_some_and(|member| member.record.body == body)
    };
    world.run(seconds(60));
    assert_eq!(world.has(&victim, knows), (MEMBERS - 1, MEMBERS - 1), "{what}");
}

#[test]
fn a_liar_has_nobody_found_dead() {
    let liar = World::name(3);
    let dead = || MemberClaim::Dead { by: World::name(3) };
    let suspect = || MemberClaim::Suspect { by: (5..9).map(World::name).collect() };
    let far = 1 << 40;
    lies(7, "that it is dead", |round| {
        let ahead = [0, 1, 2, far][round as usize % 4];
        vec![(ahead, MemberClaim::Suspect { by: vec![liar.clone()] }), (ahead, dead())]
    });
    // By four accusers who are none, and a death once it can be.
    lies(8, "as many and in time", |round| match round % 12 {
        0 => vec![(0, suspect())],
        11 => vec![(0, dead())],
        _ => Vec::new(),
    });
    lies(9, "that it has left", |_| vec![(0, MemberClaim::Left), (1, MemberClaim::Left)]);
    lies(10, "who it is", |round| {
        let body = bytes::Bytes::from_static(b"somebody else");
        let record = omnirelay_membership::GossipMemberRecord { instance: 66, version: 99, body };
        vec![(round % 3, MemberClaim::Alive(std::sync::Arc::new(record)))]
    });
}

#[test]
fn garbage_changes_nothing() {
    let mut world = settled(8, 5, lan(0.0));
    let mut rng = fastrand::Rng::with_seed(8);
    for _ in 0..20_000 {
        let length = rng.usize(..200);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
        if rng.bool() {
            bytes.splice(..bytes.len().min(2), [1, rng.u8(..5)]);
        }
        world.deliver(&World::name(1), &World::name(0), bytes);
    }
    world.run(seconds(30));
    assert_eq!(deaths(&world, |_| true), 0);
    assert!(all_alive(&world) && world.view(&World::name(0)).members().len() == 4);
    let stats = world.view(&World::name(0)).stats();
    assert!(stats.malformed > 500 && stats.throttled > 10_000, "{stats:?}");
}

#[test]
fn the_same_seed_has_the_same_happen() {
    let traces = [1, 1, 2].map(|seed| {
        let mut world = settled(seed, 20, lan(0.05));
        world.kill(&World::name(3));
        world.run(seconds(30));
        (world.trace, world.steps(), world.told)
    });
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}

/// How long after somebody has changed it may be unknown.
const BOUND: Duration = Duration::from_secs(10);

/// Counts of answers, each member asked about each other once a second.
#[derive(Debug, Default)]
struct Answers {
    all: u64,
    /// Somebody who has been up for longer than [`BOUND`] is not live there.
    wrong: u64,
    /// Somebody who has been gone for longer than [`BOUND`] is live there.
    stale: u64,
}

impl Answers {
    fn ask(&mut self, world: &World, since: &std::collections::BTreeMap<NodeId, (bool, Duration)>) {
        for (node, (is_up, at)) in since {
            if world.now - *at < BOUND {
                continue;
            }
            let live = |member: Option<&omnirelay_membership::Member>| {
                member.is_some_and(|member| member.status.is_live())
            };
            let (has_live, asked) = world.has(node, live);
            self.all += asked as u64;
            match is_up {
                true => self.wrong += (asked - has_live) as u64,
                false => self.stale += has_live as u64,
            }
        }
    }
}

/// Members come, go, crash, sleep and start again, one every half minute.
fn churn(count: usize, during: Duration, seed: u64) {
    let mut world = settled(seed, count, lan(0.01));
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut since: std::collections::BTreeMap<_, _> =
        (0..count).map(|number| (World::name(number), (true, world.now))).collect();
    let (mut answers, mut changes) = (Answers::default(), 0);
    let end = world.now + during;
    while world.now < end {
        for _ in 0..rng.u64(1..60) {
            world.run(seconds(1));
            answers.ask(&world, &since);
        }
        changes += 1;
        let node = World::name(rng.usize(..count));
        let is_up = since[&node].0;
        match rng.u8(..5) {
            // Never so many at a time that nobody is left who knows the others.
            0..3 if is_up && world.up().len() > count / 2 => {
                if rng.bool() {
                    world.leave(&node);
                    world.run(seconds(1));
                }
                world.kill(&node);
                since.insert(node, (false, world.now));
            }
            3 if is_up => {
                world.kill(&node);
                world.start(&node);
                since.insert(node, (true, world.now));
            }
            4 if is_up => world.pause(&node, ms(rng.u64(100..1500))),
            _ if !is_up => {
                world.start(&node);
                since.insert(node, (true, world.now));
            }
            _ => {}
        }
        world.told.clear();
    }
    let part = |of: u64| of as f64 / answers.all as f64 * 100.0;
    println!(
        "{count} members, {changes} changes within {during:?}, seed {seed}: {:.4} % of the answers wrong, {:.4} % stale, of {}",
        part(answers.wrong),
        part(answers.stale),
        answers.all
    );
    assert!(part(answers.wrong + answers.stale) < 0.1, "{answers:?}");
}

#[test]
fn answers_are_right_while_members_come_and_go() {
    churn(20, seconds(1200), 1);
}

#[test]
#[ignore = "a week, of some minutes"]
fn answers_are_right_for_a_week() {
    churn(50, seconds(7 * 24 * 3600), 1);
}

#[test]
#[ignore = "a day, of some minutes"]
fn nobody_is_found_dead_for_a_day_of_loss() {
    let mut world = settled(1, 200, lan(0.05));
    for _ in 0..24 {
        world.run(seconds(3600));
        assert_eq!(deaths(&world, |_| true), 0);
        world.told.clear();
    }
    println!("200 members, 5 % loss, a day, seed 1: nobody found dead, {:?}", world.stats());
}

#[test]
fn pings_may_take_longer_than_an_interval() {
    // As OmniRelay in .NET has them: a probe each second, an answer within two.
    let slow = Network { delay: (ms(500), ms(700)), loss: 0.01 };
    let config = Config { ping_timeout: seconds(2), ..Config::default() };
    for network in [lan(0.01), slow] {
        let mut world = settled_with(3, 20, network.clone(), config.clone());
        world.run(seconds(120));
        let suspected = world
            .told
            .iter()
            .filter(|(.., event)| matches!(event, MembershipEvent::Suspected { .. }))
            .count();
        assert_eq!(
            (deaths(&world, |_| true), suspected),
            (0, 0),
            "{network:?}: who answers in time is no suspect"
        );
        let dies = World::name(7);
        world.kill(&dies);
        let took = world.run_while(seconds(30), |world| world.has(&dies, is(MemberStatus::Dead)).0 < 19);
        assert!(took.is_some(), "{network:?}: the crash is not known within 30 s");
        assert_eq!(deaths(&world, |node| *node != dies), 0, "{network:?}");
    }
}
