//! How long a snapshot of 100,000 records takes to be saved and put back, on each backend.
//!
//! Starts servers and daemons of its own. Nothing is asserted. Run with `cargo bench --bench snapshots`; `records=N` and
//! `rounds=N` behind it set how many there are, and how often each is measured.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use omnirelay_support::{process, servers};

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use process::{Daemon, Place};
use servers::RedisServer;

const RECORDS: usize = 100_000;
const ROUNDS: usize = 3;
/// What each of both may take.
const LIMIT: Duration = Duration::from_secs(5);

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
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("registers.json");
    let registers: Vec<_> = (0..records)
        .map(|number| json!({"registerId": format!("register-{number:06}"), "description": "one of many"}))
        .collect();
    std::fs::write(&file, serde_json::to_string(&registers)?)?;
    for backend in ["embedded", "Redis"] {
        let server =
            (backend == "Redis").then(|| RedisServer::start(&["--appendonly", "yes"])).transpose()?;
        let store = server.as_ref().map_or_else(|| "embedded:".to_owned(), RedisServer::url);
        let daemon = start(&store)?;
        timed(&daemon, folder.path(), "registers import -f registers.json")?;
        for round in 0..rounds {
            let saved = timed(&daemon, folder.path(), &format!("snapshot save {round}.snapshot --force"))?;
            let bytes = std::fs::read(folder.path().join(format!("{round}.snapshot")))?;
            let begun = Instant::now();
            let raw = std::fs::File::create(folder.path().join("raw"))?;
            std::io::Write::write_all(&mut &raw, &bytes)?;
            raw.sync_all()?;
            tell("saved", backend, records, saved, begun.elapsed());
        }
    }
    for backend in ["embedded", "Redis"] {
        for round in 0..rounds {
            let server =
                (backend == "Redis").then(|| RedisServer::start(&["--appendonly", "yes"])).transpose()?;
            let store = server.as_ref().map_or_else(|| "embedded:".to_owned(), RedisServer::url);
            let daemon = start(&store)?;
            let restored =
                timed(&daemon, folder.path(), &format!("snapshot restore {round}.snapshot --yes"))?;
            let inspected = timed(&daemon, folder.path(), &format!("snapshot inspect {round}.snapshot"))?;
            tell("put back", backend, records, restored, inspected);
        }
    }
    Ok(())
}

/// A daemon of the node that all snapshots are of.
fn start(store: &str) -> Result<(Place, Daemon)> {
    let place = Place::new(&["--node-id", "n0", "--store", store, "--set", "mesh.gossip.enabled=false"])?;
    let daemon = place.start()?;
    Ok((place, daemon))
}

/// How long a command takes, from its start to its end.
fn timed((_place, daemon): &(Place, Daemon), folder: &Path, line: &str) -> Result<Duration> {
    let begun = Instant::now();
    let ended = Command::new(env!("CARGO_BIN_EXE_omnirelay"))
        .args(line.split(' '))
        .current_dir(folder)
        .env("OMNIRELAY_ADDR", daemon.url(""))
        .stdin(Stdio::null())
        .output()?;
    ensure!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(begun.elapsed())
}

/// One figure beside its limit, and beside what cannot be less: writing, or reading, the file alone.
fn tell(what: &str, backend: &str, records: usize, took: Duration, bare: Duration) {
    let ratio = took.as_secs_f64() / LIMIT.as_secs_f64();
    let (took, bare, limit) = (took.as_millis(), bare.as_millis(), LIMIT.as_millis());
    println!(
        "{records} records {what}, {backend}: {took} ms; the file alone {bare} ms; limit {limit} ms ({ratio:.2})"
    );
}
