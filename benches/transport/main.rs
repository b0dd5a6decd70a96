//! How nodes call each other: HTTP/3 beside HTTP/2 at one mesh port, and what falling back, loss and open connections cost.
//!
//! `cargo bench --bench transport` starts a daemon of its own and calls it as a node does; each figure stands beside what was
//! asked for. Nothing is asserted but that no call fails. `rounds=N` and `seconds=N` set how often and for how long each is
//! measured.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first surprise"
)]

#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../versus/load.rs"]
mod load;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../versus/process.rs"]
mod measured;
#[path = "../../tests/process/mod.rs"]
mod process;
#[allow(dead_code, reason = "each uses its own part")]
#[path = "../../crates/transport/tests/carriers/proxy.rs"]
mod proxy;

mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use omnirelay_transport::carrier::Protocol;
use omnirelay_transport::peer::Way;

use load::{median, quantile_us};
use node::{Carried, Node};
use process::secured::Secured;
use proxy::Proxy;

/// How many files this process and its daemon may have open.
const FILES: usize = 20_000;
/// Connections of each carrier where calls are many.
const CONNECTIONS: usize = 4;
/// How many nodes hold a connection at a time.
const MANY: usize = 200;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let number = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name)?.parse().ok());
    let rounds = number("rounds=").unwrap_or(5_u64).max(1);
    let turn = Duration::from_secs(number("seconds=").unwrap_or(2).max(1));
    process::raise_open_files(FILES)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // As often as callers can, so that it is not this that is measured.
    let set = [
        "control.tls.source=mesh",
        "mesh.leadership.enabled=false",
        "control.rateLimit.callsPerSecond=1000000",
        "control.rateLimit.burst=10000000",
    ];
    let arguments: Vec<&str> = set.iter().flat_map(|set| ["--set", *set]).collect();
    let mesh = Secured::start("bench", "127.0.0.1:0", &arguments)?;
    runtime.block_on(async {
        let (node, daemon) = (Node::of(&mesh).await?, mesh.daemon.pid());
        // From a task, as a daemon calls: on the thread that waits for all of it each call would wake another one.
        tokio::spawn(all(node, daemon, rounds, turn)).await?
    })
}

async fn all(node: Node, daemon: u32, rounds: u64, turn: Duration) -> Result<()> {
    small_calls(&node, rounds, turn).await?;
    fallback(&node, rounds).await?;
    loss(&node, turn * 2).await?;
    many(&node, daemon).await
}

/// What one carrier did, round by round.
#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    per_second: Vec<f64>,
}

/// One small call after another, and 64 at a time, in turns of both carriers.
async fn small_calls(node: &Node, rounds: u64, turn: Duration) -> Result<()> {
    let (mut http3, mut http2) = (Rounds::default(), Rounds::default());
    let mut carried = Vec::new();
    for protocol in [Protocol::Http3, Protocol::Http2] {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(node.connect(protocol).await?);
        }
        carried.push(Arc::new(open));
    }
    for round in 0..rounds {
        let mut turns = [(&mut http3, &carried[0]), (&mut http2, &carried[1])];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (rounds, open) in turns {
            let mut times = Vec::new();
            let end = Instant::now() + turn;
            while Instant::now() < end {
                let begun = Instant::now();
                node.hello(&open[0]).await?;
                times.push(begun.elapsed());
            }
            rounds.p50.push(quantile_us(&mut times, 0.5));
            rounds.p99.push(quantile_us(&mut times, 0.99));
            let (open, caller) = (Arc::clone(open), node.clone());
            let rate = load::together(turn, move |number, _| {
                let (open, caller) = (Arc::clone(&open), caller.clone());
                async move { caller.hello(&open[number % CONNECTIONS]).await }
            });
            rounds.per_second.push(rate.await?);
        }
    }
    let ratio =
        |of: &[f64], beside: &[f64]| median(of.iter().zip(beside).map(|(of, beside)| of / beside).collect());
    println!("small calls at the mesh port, median of {rounds} rounds");
    for (name, of) in [("HTTP/3", &http3), ("HTTP/2", &http2)] {
        println!(
            "  {name}: p50 {:.0} us, p99 {:.0} us alone; {:.0} /s with 64 in flight",
            median(of.p50.clone()),
            median(of.p99.clone()),
            median(of.per_second.clone())
        );
    }
    println!("  p50 of HTTP/3 to that of HTTP/2: {:.2} (asked: at most 1.0)", ratio(&http3.p50, &http2.p50));
    println!(
        "  rate with 64 in flight: {:.2} (asked: at least 0.7)",
        ratio(&http3.per_second, &http2.per_second)
    );
    Ok(())
}

/// The first call to a node whose UDP comes to nothing.
async fn fallback(node: &Node, rounds: u64) -> Result<()> {
    let mut cost = Vec::new();
    for _ in 0..rounds {
        let between = Proxy::before(node.address).await?;
        between.cut(true, true);
        let plain = node.peer(between.address, false);
        let begun = Instant::now();
        node.call(&plain, Way::default()).await?;
        let direct = begun.elapsed();
        let peer = node.peer(between.address, true);
        let begun = Instant::now();
        node.call(&peer, Way::default()).await?;
        cost.push(begun.elapsed().saturating_sub(direct).as_secs_f64() * 1e3);
    }
    println!("falling back costs {:.0} ms once (asked: at most 350)", median(cost));
    Ok(())
}

/// Calls while one datagram in fifty is dropped.
async fn loss(node: &Node, turn: Duration) -> Result<()> {
    let between = Proxy::before(node.address).await?;
    let peer = node.peer(between.address, true);
    node.call(&peer, Way::default()).await?;
    between.lose_percent(2);
    let failed = Arc::new(AtomicUsize::new(0));
    let (mut times, end) = (Vec::new(), Instant::now() + turn);
    while Instant::now() < end {
        let begun = Instant::now();
        if node.call(&peer, Way::default()).await.is_err() {
            failed.fetch_add(1, Ordering::Relaxed);
        }
        times.push(begun.elapsed());
    }
    println!(
        "2 % of the datagrams dropped: {} calls, {} failed (asked: none), p50 {:.0} us, p99 {:.1} ms",
        times.len(),
        failed.load(Ordering::Relaxed),
        quantile_us(&mut times, 0.5),
        quantile_us(&mut times, 0.99) / 1e3
    );
    Ok(())
}

/// Connections that many nodes hold.
async fn many(node: &Node, daemon: u32) -> Result<()> {
    let before = measured::resident_mb(daemon)?;
    let mut open: Vec<Carried> = Vec::new();
    for _ in 0..MANY {
        let connection = node.connect(Protocol::Http3).await?;
        node.hello(&connection).await?;
        open.push(connection);
    }
    let added = measured::resident_mb(daemon)? - before;
    println!("{MANY} connections over HTTP/3 add {added:.1} MB to the daemon (asked: under 64)");
    let idle = Duration::from_secs(20);
    let with = measured::processor(daemon, idle).await?;
    drop(open);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let without = measured::processor(daemon, idle).await?;
    let per_hundred = (with - without) * 100.0 / MANY as f64;
    println!(
        "100 idle connections cost {per_hundred:.2} % of a core (asked: at most 0.1); the daemon alone {without:.2} %"
    );
    node.hello(&node.connect(Protocol::Http3).await.context("after them")?).await
}
