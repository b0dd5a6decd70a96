//! How fast a relay and its registry are beside what tonic alone does in the same run.
//!
//! Each server is a process of its own, the same client speaks to all of them, and rounds take turns. Nothing is
//! asserted. Run with `cargo bench --bench relay`, or with the names of some parts behind it: `frames`, `latency` (with
//! `frames`, whose load it takes a half and a quarter of), `memory`; `rounds=N` and `seconds=N` set how often and for how
//! long each is measured. Heartbeats are rows of `--bench versus`.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use omnirelay_support::{process, servers};

mod echo;
mod frames;
mod load;
mod memory;
mod ratio;
mod subjects;

use std::time::Duration;

use anyhow::Result;

/// How often each is measured unless it is said, and for how long each time.
const ROUNDS: u64 = 5;
const SECONDS: u64 = 3;
/// How many files this process and its servers may have open.
const FILES: usize = 20_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [first, kind] = arguments.as_slice()
        && first == echo::SUBCOMMAND
    {
        return runtime.block_on(echo::serve(kind));
    }
    let number = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name)?.parse().ok());
    let rounds = number("rounds=").unwrap_or(ROUNDS).max(1);
    let seconds = Duration::from_secs(number("seconds=").unwrap_or(SECONDS).max(1));
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.contains('=')).collect();
    let asked = |part: &str| named.is_empty() || named.iter().any(|name| *name == part);
    process::raise_open_files(FILES)?;
    if asked("frames") || asked("latency") {
        for streams in [1, 10, 100] {
            let frames_s = runtime.block_on(frames::throughput(streams, rounds as usize, seconds))?;
            if asked("latency") {
                // Frames that are sent each at its time cost more than windows full of them.
                for part in [2.0, 4.0] {
                    runtime.block_on(frames::latency(streams, frames_s / part, rounds as usize, seconds))?;
                }
            }
        }
    }
    if asked("memory") {
        runtime.block_on(memory::of_sessions())?;
    }
    Ok(())
}
