//! How soon registers are visible after restarts, and what keeping ten thousand true costs others.
//!
//! Starts servers and daemons of its own. Nothing is asserted. Run with `cargo bench --bench registers`, or with the
//! names of some parts behind it: `cold`, `restart`, `orders`, `reconcile`, `unchanged`; `rounds=N` sets how often each
//! is measured.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use omnirelay_support::{process, servers};

#[path = "../leadership/figures.rs"]
mod figures;
mod mesh;
mod reconcile;
mod restarts;

use anyhow::Result;

use mesh::Kind;

/// How often each is measured unless it is said.
const ROUNDS: usize = 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let rounds = arguments.iter().find_map(|argument| argument.strip_prefix("rounds=")?.parse().ok());
    let rounds: usize = rounds.unwrap_or(ROUNDS);
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.contains('=')).collect();
    let asked = |part: &str| named.is_empty() || named.iter().any(|name| *name == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for kind in [Kind::Embedded, Kind::Redis] {
        let word = kind.word();
        if asked("cold") {
            let figures = runtime.block_on(restarts::cold(kind, rounds))?;
            figures.print(&format!(
                "100 registers visible and confirmed after a cold start, {word}, limit 2000 ms"
            ));
        }
        if asked("restart") {
            let figures = runtime.block_on(restarts::served(kind, rounds))?;
            figures.print(&format!("100 registers served, from ready after kill -9, {word}, limit 500 ms"));
        }
        if asked("orders") {
            let figures = runtime.block_on(restarts::orders(kind, (rounds / 10).max(1)))?;
            figures.print(&format!("converged after a full restart in every order, {word}, limit 10000 ms"));
        }
        if asked("reconcile") {
            runtime.block_on(reconcile::beside_calls(kind, (rounds / 4).max(1)))?;
            runtime.block_on(reconcile::beside_comparisons(kind, rounds))?;
        }
        if asked("unchanged") {
            runtime.block_on(reconcile::unchanged(kind))?;
        }
    }
    Ok(())
}
