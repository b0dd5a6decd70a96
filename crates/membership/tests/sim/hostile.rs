//! A hostile member at full speed: it tells of names that nobody has, accuses everybody, has them leave, and says who they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_membership::{
    Config, ExchangeMessage, GossipMemberRecord, MemberClaim, MemberStatus, MemberUpdate, Membership, NodeId,
    OwnMember, Packet, PacketMessage, Time,
};

use crate::world::World;
use crate::{is, lan, ms, seconds, settled};

const MEMBERS: usize = 10;
/// How many packets it sends to each of the others ten times a second: more than a member takes.
const PACKETS: u64 = 26;

fn liar() -> NodeId {
    World::name(3)
}

fn packet(updates: Vec<MemberUpdate>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet { message: PacketMessage::Gossip, incarnation: 0, version: 0, health: 0, updates }
        .encode(&mut bytes);
    bytes
}

fn alive(instance: u64, body: &'static [u8]) -> MemberClaim {
    MemberClaim::Alive(Arc::new(GossipMemberRecord { instance, version: 1, body: Bytes::from_static(body) }))
}

/// Names that nobody has.
fn inventions(round: u64, count: u64) -> Vec<MemberUpdate> {
    let name = |number: u64| NodeId::new(&format!("nobody-{}", round * count + number)).unwrap();
    let incarnation = Membership::first_incarnation(seconds(1_700_000_000));
    (0..count)
        .map(|number| MemberUpdate { node: name(number), incarnation, claim: alive(7, b"invented") })
        .collect()
}

/// Lies of each sort about one of the others.
fn lies(world: &World, of: &NodeId, round: u64) -> Vec<MemberUpdate> {
    let incarnation = world.view(of).own().incarnation + round % 3;
    let by = || (5..9).map(World::name).collect();
    let claims = [
        MemberClaim::Suspect { by: by() },
        MemberClaim::Dead { by: World::name(5) },
        MemberClaim::Left,
        alive(66, b"an endpoint of somebody else"),
    ];
    claims.into_iter().map(|claim| MemberUpdate { node: of.clone(), incarnation, claim }).collect()
}

/// A tenth of a second of it.
fn attack(world: &mut World, round: u64) {
    let others: Vec<_> = world.up().into_iter().filter(|node| *node != liar()).collect();
    let about: Vec<_> = others.iter().flat_map(|of| lies(world, of, round)).collect();
    for to in &others {
        for number in 0..PACKETS {
            let updates = match number % 4 {
                0 => about.iter().filter(|update| update.node != *to).take(60).cloned().collect(),
                _ => inventions(round * PACKETS + number, 60),
            };
            world.deliver(&liar(), to, packet(updates));
        }
    }
    world.run(ms(100));
}

/// Figures of a run, under attack or not: delays in seconds, wrong answers, and numbers of members.
#[derive(Debug)]
struct Figures {
    join: f64,
    leave: f64,
    crash: f64,
    /// Of all answers about who lives, asked ten times a second, how many did not say so.
    wrong: f64,
    deaths: usize,
    strangers: usize,
    known: usize,
}

fn figures(is_attacked: bool) -> Figures {
    let mut world = settled(21, MEMBERS, lan(0.01));
    let (mut asked, mut wrong, mut strangers, mut known) = (0, 0, 0, 0);
    let mut round = 0;
    let mut go_on = |world: &mut World, during: Duration, quiet: &[NodeId]| {
        let end = world.now + during;
        while world.now < end {
            round += 1;
            if is_attacked {
                attack(world, round);
            } else {
                world.run(ms(100));
            }
            for node in world.up().iter().filter(|node| **node != liar()) {
                let members = world.view(node).members();
                for (_, member) in members.iter().filter(|(of, _)| {
                    of.as_str().starts_with("node-") && !quiet.contains(of) && **of != liar()
                }) {
                    asked += 1;
                    wrong += usize::from(member.shown() != MemberStatus::Alive);
                }
                known = known.max(members.len());
                strangers = strangers.max(world.view(node).strangers().count());
            }
        }
    };
    go_on(&mut world, seconds(5), &[]);
    let (new, goes, dies) = (World::name(MEMBERS), World::name(7), World::name(8));
    let mut until = |world: &mut World, of: &NodeId, status: MemberStatus, quiet: &[NodeId]| {
        let began = world.now;
        let is_so = |world: &World| {
            let (so, all) = world.has(of, is(status));
            so as f64 >= 0.95 * all as f64
        };
        while !is_so(world) && world.now - began < seconds(60) {
            go_on(world, ms(100), quiet);
        }
        (world.now - began).as_secs_f64()
    };
    world.start(&new);
    let join = until(&mut world, &new, MemberStatus::Alive, std::slice::from_ref(&new));
    world.leave(&goes);
    let leave = until(&mut world, &goes, MemberStatus::Left, std::slice::from_ref(&goes));
    world.run(seconds(1));
    world.kill(&goes);
    world.told.clear();
    world.kill(&dies);
    let crash = until(&mut world, &dies, MemberStatus::Dead, &[goes.clone(), dies.clone()]);
    // Who is nobody may be found dead.
    let deaths = world.deaths(|of| of.as_str().starts_with("node-") && ![&dies, &goes].contains(&of));
    Figures { join, leave, crash, wrong: wrong as f64 / asked as f64, deaths, strangers, known }
}

#[test]
fn a_hostile_member_at_full_speed_is_little_beside_none() {
    let (without, with) = (figures(false), figures(true));
    println!("without a hostile member: {without:?}\nwith one:                 {with:?}");
    assert_eq!((without.deaths, with.deaths), (0, 0));
    assert!(with.join <= 2.0 && with.leave <= 2.0 && with.crash <= 20.0, "{with:?}");
    assert!(with.wrong < 0.02, "{with:?}");
    let strangers_max = Config::default().strangers_max;
    assert!(with.strangers <= strangers_max && with.known <= strangers_max + MEMBERS + 1, "{with:?}");
}

#[test]
fn inventions_go_away_when_nobody_tells_of_more() {
    let mut world = settled(22, MEMBERS, lan(0.01));
    (0..20).for_each(|round| attack(&mut world, round));
    let strangers =
        |world: &World| -> usize { world.up().iter().map(|node| world.view(node).strangers().count()).sum() };
    assert!(strangers(&world) > 1000, "{}", strangers(&world));
    let took = world.run_while(seconds(700), |world| strangers(world) > 0);
    println!("inventions are gone after {took:?}");
    assert!(took.is_some(), "{} are left", strangers(&world));
    // They do not come back from those who forgot them later.
    world.run(seconds(120));
    assert_eq!(strangers(&world), 0);
    let all = MEMBERS - 1;
    for number in 0..MEMBERS {
        assert_eq!(world.has(&World::name(number), is(MemberStatus::Alive)), (all, all));
    }
}

/// For how long this thread has had a processor.
fn processor() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

/// What one step takes of the processor at the most, with a table that is as full as it can be.
#[test]
#[ignore = "a figure, of an optimised build"]
fn no_step_for_a_hostile_member_takes_long() {
    let start = Membership::first_incarnation(seconds(1_700_000_000));
    let record = GossipMemberRecord { instance: 1, version: 1, body: Bytes::from(vec![7; 150]) };
    let own = OwnMember { node: World::name(0), incarnation: start, record: record.clone() };
    let mut member = Membership::new(own, Config::default(), 1, Time::ZERO);
    let mut now = Time::ZERO;
    for number in 1..9000 {
        let (node, claim) = (World::name(number), MemberClaim::Alive(Arc::new(record.clone())));
        let update = MemberUpdate { node: node.clone(), incarnation: start, claim };
        now += ms(1);
        let _ = member.receive(now, &node, &packet(vec![update]));
        while member.poll().is_some() {}
    }
    assert!(member.members().len() > 8000);
    let mut longest = Duration::ZERO;
    let mut step = |what: &str, longest_of: &mut dyn FnMut()| {
        let begun = processor();
        longest_of();
        let took = processor() - begun;
        if took > longest {
            println!("{what}: {took:?}");
            longest = took;
        }
    };
    for round in 0..60_u64 {
        now += ms(1000);
        let mut updates = ExchangeMessage::Updates { updates: inventions(round, 5000), wanted: Vec::new() };
        let bytes = updates.encode();
        step("decoding", &mut || updates = ExchangeMessage::decode(&bytes).unwrap());
        while let Some(part) = updates.part() {
            step("a part of an exchange", &mut || {
                member.take_exchange(now, &liar(), part.clone());
                while member.poll().is_some() {}
            });
        }
        let digest = ExchangeMessage::Digest { digest: round, own: lies_of_itself(start + round) };
        step("an answer to a digest", &mut || {
            let answer = member.take_exchange(now, &liar(), digest.clone());
            let _ = answer.map(|answer| answer.encode());
        });
        step("a packet", &mut || {
            let _ = member.receive(now, &liar(), &packet(inventions(round, 60)));
            while member.poll().is_some() {}
        });
        step("what is due", &mut || {
            member.advance(now);
            while member.poll().is_some() {}
        });
    }
    println!("the longest step: {longest:?}");
    assert!(longest < ms(50), "{longest:?}");
}

fn lies_of_itself(incarnation: u64) -> MemberUpdate {
    MemberUpdate { node: liar(), incarnation, claim: alive(3, b"itself") }
}
