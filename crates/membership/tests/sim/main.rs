//! Membership of many members in one process, in time that does not pass: how soon everybody knows, what it costs, and that nobody
//! is found dead who is not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a simulation prints its figures"
)]

mod hostile;
mod scenarios;
mod world;

use std::time::Duration;

use omnirelay_membership::{Config, MemberStatus, MembershipEvent, NodeId};
use world::{Network, OVERHEAD, World};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn lan(loss: f64) -> Network {
    Network { delay: (ms(1), ms(3)), loss }
}

/// So many that know each other.
fn settled(seed: u64, count: usize, network: Network) -> World {
    settled_with(seed, count, network, Config::default())
}

/// The same, set otherwise.
fn settled_with(seed: u64, count: usize, network: Network, config: Config) -> World {
    let mut world = World::new(seed, config, network);
    for number in 0..count {
        world.start(&World::name(number));
        if number % 20 == 19 {
            world.run(ms(100));
        }
    }
    let all = world.up();
    let took = world.run_while(seconds(120), |world| {
        !all.iter().all(|node| world.view(node).members().live() == count - 1)
    });
    assert!(took.is_some(), "seed {seed}: they do not find each other");
    let took = world.run_while(seconds(600), |world| !all.iter().all(|node| world.view(node).queued() == 0));
    assert!(took.is_some(), "seed {seed}: there is no end of news");
    world.run(seconds(5));
    world.told.clear();
    world
}

fn is(status: MemberStatus) -> impl Fn(Option<&omnirelay_membership::Member>) -> bool {
    move |member| member.is_some_and(|member| member.status == status)
}

/// How long it takes until a part of all, and then all, have a member so.
fn spread(world: &mut World, node: &NodeId, status: MemberStatus) -> (f64, f64) {
    let mut until = |part: f64| {
        let took = world.run_while(seconds(60), |world| {
            let (so, all) = world.has(node, is(status));
            (so as f64) < part * all as f64
        });
        took.map_or(f64::INFINITY, |took| took.as_secs_f64())
    };
    let most = until(0.95);
    (most, most + until(1.0))
}

fn median(mut of: Vec<f64>) -> (f64, f64) {
    of.sort_by(f64::total_cmp);
    (of[of.len() / 2], of[of.len() - 1])
}

/// Prints how soon everybody knows, and what that costs; at the median no more than `times` what is asked of 200 members.
fn figures(count: usize, seeds: u64, loss: f64, times: f64) {
    let (mut joins, mut joins_all, mut leaves, mut crashes, mut crashes_all, mut first) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    let (mut rest, mut rest_exchange) = (vec![], vec![]);
    for seed in 0..seeds {
        let mut world = settled(seed, count, lan(loss));
        let (before, exchanged) = (world.stats(), world.exchanged);
        world.run(seconds(60));
        let after = world.stats();
        let bytes = after.sent_bytes - before.sent_bytes + (after.sent - before.sent) * OVERHEAD;
        rest.push(bytes as f64 / 60.0 / count as f64);
        rest_exchange.push((world.exchanged - exchanged) as f64 / 60.0 / count as f64);
        let new = World::name(count);
        world.start(&new);
        let (most, all) = spread(&mut world, &new, MemberStatus::Alive);
        joins.push(most);
        joins_all.push(all);
        world.run(seconds(10));
        let goes = World::name(count / 2);
        world.leave(&goes);
        leaves.push(spread(&mut world, &goes, MemberStatus::Left).0);
        world.run(seconds(1));
        world.kill(&goes);
        world.run(seconds(10));
        let wrong = |world: &World, of: Option<&NodeId>| {
            let is_wrong = |event: &MembershipEvent| matches!(event, MembershipEvent::Died { node, .. } if Some(node) != of);
            world.told.iter().filter(|(_, _, event)| is_wrong(event)).count()
        };
        assert_eq!(wrong(&world, None), 0, "seed {seed}: somebody was found dead who is not");
        world.told.clear();
        let dies = World::name(count / 3);
        world.kill(&dies);
        let killed = world.now;
        let (most, all) = spread(&mut world, &dies, MemberStatus::Dead);
        crashes.push(most);
        crashes_all.push(all);
        let suspected = world
            .told
            .iter()
            .find(|(_, _, event)| matches!(event, MembershipEvent::Suspected { node, .. } if *node == dies));
        first.push(suspected.map_or(f64::INFINITY, |(at, ..)| (*at - killed).as_secs_f64()));
        assert_eq!(wrong(&world, Some(&dies)), 0, "seed {seed}: somebody was found dead who is not");
    }
    println!("{count} members, {:.0} % loss, {seeds} seeds; median and worst, in seconds", loss * 100.0);
    // Time is the simulation's, so that no machine is too slow for it.
    for (what, of, asked) in [
        ("join known to 95 %", joins, 0.7),
        ("join known to all", joins_all, 1.2),
        ("leave known to 95 %", leaves, 1.0),
        ("crash suspected", first, f64::INFINITY),
        ("crash known to 95 %", crashes, 5.0),
        ("crash known to all", crashes_all, f64::INFINITY),
        ("bytes a second and member at rest", rest, 1000.0),
        ("of exchanges besides", rest_exchange, 1000.0),
    ] {
        let (median, worst) = median(of);
        println!("  {what}: {median:.2} / {worst:.2} (asked: {:.1})", asked * times);
        assert!(median <= asked * times, "{what}: {median}");
    }
}

#[test]
fn figures_of_50() {
    figures(50, 9, 0.01, 1.0);
}

#[test]
#[ignore = "as long as a minute"]
fn figures_of_200() {
    figures(200, 20, 0.01, 1.0);
}

#[test]
#[ignore = "as long as a minute"]
fn figures_of_1000() {
    figures(1000, 3, 0.01, 2.0);
}
