//! How long it takes to find what differs between a daemon that holds 100,000 records and its store, or another daemon.
//!
//! Starts a server and two daemons of its own. Nothing is asserted. Run with `cargo bench --bench state_diff`; `records=N` and `rounds=N`
//! behind it set how many there are, and how often each is measured. `cargo bench -p omnirelay-core --bench ranges` has what the index costs.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use omnirelay_support::{process, servers};

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use process::{Daemon, Place};
use servers::RedisServer;

const RECORDS: usize = 100_000;
const ROUNDS: usize = 9;
/// How many records are made to differ.
const DIFFERING: usize = 100;
/// What a comparison of what is the same, and one of what differs, may take.
const SAME_LIMIT: Duration = Duration::from_millis(200);
const DIFFERING_LIMIT: Duration = Duration::from_millis(300);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let number = |name: &str, otherwise: usize| {
        let given = arguments.iter().find_map(|argument| argument.strip_prefix(name)?.parse().ok());
        given.unwrap_or(otherwise)
    };
    let (records, rounds) = (number("records=", RECORDS), number("rounds=", ROUNDS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(records, rounds))
}

async fn measure(records: usize, rounds: usize) -> Result<()> {
    let server = RedisServer::start(&["--save", "", "--appendonly", "no"])?;
    let (_first, one) = start("one", &server.url())?;
    let (_second, other) = start("other", &server.url())?;
    for some in (0..records).collect::<Vec<_>>().chunks(5000) {
        let registers: Vec<Value> = some
            .iter()
            .map(
                |number| json!({"registerId": format!("register-{number:06}"), "description": "one of many"}),
            )
            .collect();
        let (status, answer) =
            one.post("/control/registers:import", &json!({"registers": registers})).await?;
        ensure!(status == 200, "{status} {answer}");
    }
    let resident = one.resident()? / records as u64;
    println!("{records} records: {resident} bytes of a daemon's memory for each, all it holds among them");
    let begun = Instant::now();
    loop {
        let found = one.get("/control/state-diff?nodeId=other").await?;
        if found["differing"] == "0" {
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "{found}");
    }
    let listed = median(rounds, || async { one.get("/control/peers").await }).await?;
    for (what, path) in
        [("the store", "/control/state-diff"), ("another daemon", "/control/state-diff?nodeId=other")]
    {
        let (took, found) = median(rounds, || async { one.get(path).await }).await?;
        ensure!(found["differing"] == "0", "{found}");
        tell(&format!("{records} equal records beside {what}"), took, SAME_LIMIT, &found, listed.0);
    }
    plant(&server, records)?;
    let begun = Instant::now();
    let (status, mended) = other.post("/control/state-diff:reconcile", &json!({})).await?;
    ensure!(status == 200 && mended["after"]["differing"] == "0", "{status} {mended}");
    tell(
        "compared, loaded anew and compared again",
        begun.elapsed(),
        DIFFERING_LIMIT,
        &mended["before"],
        listed.0,
    );
    let path = "/control/state-diff?nodeId=other";
    let (took, found) = median(rounds, || async { one.get(path).await }).await?;
    tell(
        &format!("{} of {records} that differ from another daemon", found["differing"]),
        took,
        DIFFERING_LIMIT,
        &found,
        listed.0,
    );
    Ok(())
}

fn start(node_id: &str, store: &str) -> Result<(Place, Daemon)> {
    let place = Place::new(&["--node-id", node_id, "--store", store, "--set", "mesh.gossip.enabled=false"])?;
    let daemon = place.start()?;
    Ok((place, daemon))
}

/// Puts other records into the store than the daemons were told of, past them: some have what is in another one.
fn plant(server: &RedisServer, records: usize) -> Result<()> {
    let keys: Vec<String> = server.cli(&["KEYS", "*"])?;
    let hash = keys.iter().find(|key| key.ends_with("records:register")).context("no registers")?;
    let mut fields: Vec<String> = server.cli(&["HKEYS", hash])?;
    fields.sort();
    let script = "return redis.call('HSET', KEYS[1], ARGV[2], redis.call('HGET', KEYS[1], ARGV[1]))";
    // Half of all away: imported by another commit, so that it has another revision.
    for number in 0..DIFFERING {
        let to = number * (records / 2 / DIFFERING).max(1);
        if let (Some(from), Some(to)) = (fields.get(to + records / 2), fields.get(to)) {
            server.cli::<()>(&["EVAL", script, "1", hash, from, to])?;
        }
    }
    Ok(())
}

/// The median of some rounds, and the last answer.
async fn median<F>(rounds: usize, mut ask: impl FnMut() -> F) -> Result<(Duration, Value)>
where
    F: Future<Output = Result<Value>>,
{
    let (mut taken, mut last) = (Vec::new(), Value::Null);
    for _ in 0..rounds {
        let begun = Instant::now();
        last = ask().await?;
        taken.push(begun.elapsed());
    }
    taken.sort();
    Ok((taken[taken.len() / 2], last))
}

/// One figure beside its limit, and beside a list of peers by the same client.
fn tell(what: &str, took: Duration, limit: Duration, found: &Value, listed: Duration) {
    let (ms, ratio) = (took.as_secs_f64() * 1000.0, took.as_secs_f64() / limit.as_secs_f64());
    let questions = &found["questions"];
    println!(
        "{what}: {ms:.1} ms, {questions} questions; limit {} ms ({ratio:.2}); a list of peers {:.1} ms",
        limit.as_millis(),
        listed.as_secs_f64() * 1000.0
    );
}
