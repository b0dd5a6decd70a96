//! What a registry in Redis costs, beside what Redis itself costs.
//!
//! Starts servers of its own. Nothing is asserted. Run with `cargo bench --bench redis`, or with
//! the names of some parts behind it: `commits`, `sessions`, `idle`, `memory`, `failover`.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use omnirelay_support::servers;

mod commits;
mod daemons;
mod failover;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{Epoch, Pulse, RedisStore, Store};

/// How often each figure is taken.
const ROUNDS: usize = 5;
const MESH: &str = "bench";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let asked = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if asked("commits") {
        runtime.block_on(commits::beside_a_bare_script())?;
    }
    if asked("sessions") {
        runtime.block_on(sessions::of_200_daemons())?;
    }
    if asked("idle") {
        daemons::idle()?;
    }
    if asked("memory") {
        runtime.block_on(daemons::memory())?;
    }
    if asked("failover") {
        runtime.block_on(failover::by_sentinel())?;
    }
    Ok(())
}

/// A store that grants at once.
fn store(url: &str) -> Result<Arc<RedisStore>> {
    Ok(Arc::new(RedisStore::new(url.parse()?, RedisOptions::default(), MESH, Duration::ZERO)))
}

async fn epoch(store: &RedisStore) -> Result<Epoch> {
    Ok(store.pulse(Pulse::default()).await?.epoch)
}

/// The middle one, and the worst one at the end that is worse.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
