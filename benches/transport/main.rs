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

use omnirelay_support::process;

#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../versus/load.rs"]
mod load;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../versus/process.rs"]
mod measured;
#[allow(dead_code, reason = "each uses its own part")]
#[path = "../../crates/transport/tests/carriers/proxy.rs"]
mod proxy;

mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_transport::peer::CallPath;

use load::{median, quantile_us};
use node::{Carried, Node};
use process::secured::Secured;
use proxy::Proxy;
use tokio::task::JoinSet;

/// How many files this process and its daemon may have open.
const FILES: usize = 20_000;
/// Connections of each carrier where calls are many.
const CONNECTIONS: usize = 4;
/// How many nodes hold a connection at a time.
const MANY: usize = 200;
/// How often those who call have a new certificate, and how many they are.
const ROTATIONS: usize = 1_000;
const CALLERS: usize = 64;
/// How many nodes dial at once.
const DIALERS: usize = 1_000;

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
    rotations(&node).await?;
    many(&node, daemon).await?;
    dialing(&node).await
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
    for protocol in [ConnectionProtocol::Http3, ConnectionProtocol::Http2] {
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
        node.call(&plain, CallPath::default()).await?;
        let direct = begun.elapsed();
        let peer = node.peer(between.address, true);
        let begun = Instant::now();
        node.call(&peer, CallPath::default()).await?;
        cost.push(begun.elapsed().saturating_sub(direct).as_secs_f64() * 1e3);
    }
    println!("falling back costs {:.0} ms once (asked: at most 350)", median(cost));
    Ok(())
}

/// Calls while one datagram in fifty is dropped.
async fn loss(node: &Node, turn: Duration) -> Result<()> {
    let between = Proxy::before(node.address).await?;
    let peer = node.peer(between.address, true);
    node.call(&peer, CallPath::default()).await?;
    between.lose_percent(2);
    let failed = Arc::new(AtomicUsize::new(0));
    let (mut times, end) = (Vec::new(), Instant::now() + turn);
    while Instant::now() < end {
        let begun = Instant::now();
        if node.call(&peer, CallPath::default()).await.is_err() {
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

/// Calls while each connection makes room for a new one again and again, over either carrier.
async fn rotations(node: &Node) -> Result<()> {
    for (name, way) in
        [("HTTP/3", CallPath::default()), ("HTTP/2", CallPath { bulk: true, ..CallPath::default() })]
    {
        let (peer, ends) = (node.peer(node.address, true), Arc::new(AtomicBool::new(false)));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (node, peer, ends) = (node.clone(), Arc::clone(&peer), Arc::clone(&ends));
            callers.spawn(async move {
                let (mut calls, mut failed) = (0_usize, 0_usize);
                while !ends.load(Ordering::Relaxed) {
                    calls += 1;
                    failed += usize::from(node.call(&peer, way).await.is_err());
                }
                (calls, failed)
            });
        }
        let begun = Instant::now();
        for _ in 0..ROTATIONS {
            tokio::time::sleep(Duration::from_millis(10)).await;
            node.rotate();
        }
        ends.store(true, Ordering::Relaxed);
        let told = callers.join_all().await;
        let (calls, failed) = told.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        println!(
            "{ROTATIONS} rotations over {name} in {:.1} s: {calls} calls of {CALLERS} callers, {failed} failed (asked: none)",
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// Many nodes that dial at once, each by a socket of its own.
async fn dialing(node: &Node) -> Result<()> {
    let mut dialing = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..DIALERS {
        let node = node.another()?;
        dialing.spawn(async move {
            let (peer, begun) = (node.peer(node.address, true), Instant::now());
            let answered = node.call(&peer, CallPath::default()).await.is_ok();
            (begun.elapsed(), answered.then(|| peer.used().protocol).flatten(), peer)
        });
    }
    let told = dialing.join_all().await;
    let took = begun.elapsed();
    let by = |protocol| told.iter().filter(|(_, by, _)| *by == protocol).count();
    let mut times: Vec<Duration> = told.iter().map(|(took, ..)| *took).collect();
    println!(
        "{DIALERS} nodes dial at once: {} over HTTP/3, {} over HTTP/2, {} failed (asked: none) in {:.1} s; p50 {:.2} s, p99 {:.2} s",
        by(Some(ConnectionProtocol::Http3)),
        by(Some(ConnectionProtocol::Http2)),
        by(None),
        took.as_secs_f64(),
        quantile_us(&mut times, 0.5) / 1e6,
        quantile_us(&mut times, 0.99) / 1e6
    );
    Ok(())
}

/// Connections that many nodes hold.
async fn many(node: &Node, daemon: u32) -> Result<()> {
    let before = measured::resident_mb(daemon)?;
    let mut open: Vec<Carried> = Vec::new();
    for _ in 0..MANY {
        let connection = node.connect(ConnectionProtocol::Http3).await?;
        node.hello(&connection).await?;
        open.push(connection);
    }
    let added = measured::resident_mb(daemon)? - before;
    println!("{MANY} connections over HTTP/3 add {added:.1} MB to the daemon (asked: under 64)");
    let idle = Duration::from_secs(30);
    let with = measured::processor(daemon, idle).await?;
    drop(open);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let without = measured::processor(daemon, idle).await?;
    let per_hundred = (with - without) * 100.0 / MANY as f64;
    println!(
        "100 idle connections cost {per_hundred:.2} % of a core (asked: at most 0.1); the daemon alone {without:.2} %"
    );
    node.hello(&node.connect(ConnectionProtocol::Http3).await.context("after them")?).await
}
