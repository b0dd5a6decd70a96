//! Planning: how long a plan of shards takes beside its limit, and what each change moves.
//!
//! `cargo bench -p omnirelay-core --bench planning` prints a line for each strategy and change; nothing is asserted. `moved` is of the
//! first plan and of all until nothing is left to do, `least` what no planner could do with fewer of, `max/mean` the balance at the end.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::time::{Duration, Instant};

use omnirelay_core::rebalance::{OwnerStanding, RebalanceNode, RebalanceRules, RebalanceShard, plan};
use omnirelay_core::shard_order::{PlacementStrategy, Weight};

/// What planning 10,000 shards on 200 nodes may take.
const LIMIT: Duration = Duration::from_millis(50);
/// How many shards, on how many nodes.
const SIZES: [(usize, usize); 2] = [(10_000, 200), (1_000, 10)];
const TIMES: u32 = 7;

fn main() {
    // `cargo test --benches`, which does not say so, only wants to know that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for (shards, nodes) in SIZES {
        changes(shards, nodes);
    }
}

/// What each change of a mesh of so many nodes costs.
fn changes(shards: usize, count: usize) {
    println!("{shards} shards on {count} nodes; limit of a plan {} ms", LIMIT.as_millis());
    println!(
        "strategy    change            median ms  of limit  moved first  in all  least  plans  max/mean"
    );
    let ids: Vec<String> = (0..=count).map(|at| format!("node-{at}")).collect();
    let shards: Vec<String> = (0..shards).map(|at| at.to_string()).collect();
    for strategy in PlacementStrategy::ALL {
        let rules = RebalanceRules { strategy, ..RebalanceRules::default() };
        let nodes: Vec<RebalanceNode<'_>> = ids[..count].iter().map(|id| node(id)).collect();
        let first = told("created", &vec![None; shards.len()], &shards, &nodes, &rules);
        let change = |what: &str, change: &dyn Fn(&mut Vec<RebalanceNode<'_>>)| {
            let mut changed = nodes.clone();
            change(&mut changed);
            told(what, &first, &shards, &changed, &rules);
        };
        change("nothing", &|_| {});
        change("one leaves", &|nodes| nodes[7].standing = OwnerStanding::Leaving);
        change("half leave", &|nodes| {
            nodes.iter_mut().step_by(2).for_each(|node| node.standing = OwnerStanding::Leaving);
        });
        change("one weighs double", &|nodes| nodes[7].weight = Weight::of(2.0).unwrap_or(Weight::ONE));
        let mut joined = nodes.clone();
        joined.push(node(&ids[count]));
        told("one joins", &first, &shards, &joined, &rules);
        let aligned = RebalanceRules { aligns: true, ..rules };
        let mut heavier = nodes.clone();
        heavier[7].weight = Weight::of(2.0).unwrap_or(Weight::ONE);
        told("... and is heeded", &first, &shards, &heavier, &aligned);
        let other = if strategy == PlacementStrategy::Ring {
            PlacementStrategy::Rendezvous
        } else {
            PlacementStrategy::Ring
        };
        told("another strategy", &first, &shards, &nodes, &RebalanceRules { strategy: other, ..aligned });
    }
}

fn node(id: &str) -> RebalanceNode<'_> {
    RebalanceNode {
        id,
        weight: Weight::ONE,
        region: "",
        zone: "",
        standing: OwnerStanding::Open,
        capacity: None,
    }
}

/// Plans until nothing is left to do, and says what it took.
fn told<'a>(
    what: &str,
    owners: &[Option<&'a str>],
    ids: &[String],
    nodes: &[RebalanceNode<'a>],
    rules: &RebalanceRules,
) -> Vec<Option<&'a str>> {
    let mut owners = owners.to_vec();
    let held = shards(ids, &owners);
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let begun = Instant::now();
            std::hint::black_box(plan("orders", &held, nodes, rules));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times[times.len() / 2];
    let (mut plans, mut moved, mut first, mut least) = (0, 0, 0, 0);
    loop {
        let made = plan("orders", &shards(ids, &owners), nodes, rules);
        if plans == 0 {
            (first, least) = (made.moves.len(), made.lower_bound);
        }
        if made.moves.is_empty() {
            break;
        }
        plans += 1;
        moved += made.moves.len();
        made.moves.iter().for_each(|one| owners[one.shard] = Some(nodes[one.to].id));
    }
    let open = nodes.iter().filter(|node| node.standing == OwnerStanding::Open);
    let loads: Vec<f64> = open
        .map(|node| {
            owners.iter().filter(|owner| **owner == Some(node.id)).count() as f64 / node.weight.number()
        })
        .collect();
    let mean = ids.len() as f64
        / nodes
            .iter()
            .filter(|node| node.standing == OwnerStanding::Open)
            .map(|node| node.weight.number())
            .sum::<f64>();
    let balance = loads.iter().copied().fold(0.0, f64::max) / mean;
    let (ms, part) = (median.as_secs_f64() * 1e3, median.as_secs_f64() / LIMIT.as_secs_f64());
    let strategy = rules.strategy.word();
    println!(
        "{strategy:<11} {what:<17} {ms:>9.1}  {part:>8.2}  {first:>11}  {moved:>6}  {least:>5}  {plans:>5}  {balance:>8.3}"
    );
    owners
}

fn shards<'a>(ids: &'a [String], owners: &[Option<&'a str>]) -> Vec<RebalanceShard<'a>> {
    let of = |(id, owner): (&'a String, &Option<&'a str>)| RebalanceShard {
        id,
        owner: *owner,
        hint: "",
        is_pinned: false,
    };
    ids.iter().zip(owners).map(of).collect()
}
