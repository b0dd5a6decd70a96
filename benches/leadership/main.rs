//! How long a scope is without a leader, and what leading many scopes costs.
//!
//! Starts servers and daemons of its own. Nothing is asserted. Run with `cargo bench --bench leadership`, or
//! with the names of some parts behind it: `redis`, `embedded`, `transfer`, `sentinel`, `scopes`, `stale`;
//! `rounds=N` sets how often each is measured. With `--csv` it prints what `benches/peers/compare` reads.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use omnirelay_support::{process, servers};

mod failover;
mod figures;
mod mesh;
mod scopes;
mod stale;

use anyhow::Result;

/// How often a failover is measured unless it is said.
const ROUNDS: usize = 100;
/// How often it is when the figures are compared with those of others, as those are.
const COMPARED_ROUNDS: usize = 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let csv = arguments.iter().any(|argument| argument == "--csv");
    let rounds = arguments.iter().find_map(|argument| argument.strip_prefix("rounds=")?.parse().ok());
    let rounds = rounds.unwrap_or(if csv { COMPARED_ROUNDS } else { ROUNDS });
    let named: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with("--") && !argument.contains('=')).collect();
    let asked = |part: &str| !csv && (named.is_empty() || named.iter().any(|name| *name == part));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if csv {
        return runtime.block_on(failover::compared(rounds));
    }
    if asked("redis") {
        runtime.block_on(failover::on_redis(rounds))?.print("failover redis kill-9, limit 2500 ms");
    }
    if asked("embedded") {
        runtime.block_on(failover::on_embedded(rounds))?.print("failover embedded dev kill, limit 2500 ms");
    }
    if asked("transfer") {
        runtime.block_on(failover::transfers(rounds * 2))?.print("transfer redis, limit 50 ms");
    }
    if asked("sentinel") {
        let back = runtime.block_on(failover::by_sentinel((rounds / 10).max(1)))?;
        back.print("sentinel failover, from the announcement to a leader that acts, limit 5000 ms");
    }
    if asked("scopes") {
        runtime.block_on(scopes::renewals())?;
        runtime
            .block_on(scopes::failing_over((rounds / 10).max(1)))?
            .print("1000 scopes led again, limit 5000 ms");
    }
    if asked("stale") {
        runtime.block_on(stale::writes())?;
    }
    Ok(())
}
