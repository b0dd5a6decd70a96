//! How far a cluster is behind another one that it follows, over a link that delays what passes, and how it comes back to what that has.
//!
//! Starts two Redis servers and two daemons of its own, in networks of their own; only root can do that. Nothing is asserted. Run with
//! `cargo bench --bench replication`, and behind it, each with `=N`, where 0 leaves a part out:
//!
//! - `rate` commits a second, for `seconds`: how long after its commit a change is seen where it is followed.
//! - `kills`: how long changes are not seen when the daemon that follows is killed, and another one has to.
//! - `backlog` commits while the link is cut: how long until they are caught up with, and how reads fare meanwhile.
//! - `records` and `differing`: how many there are where both are compared, and how many of them differ.
//! - `delay`: how far the clusters are from each other, in milliseconds each way.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod backlog;
mod clusters;
mod comparison;
mod kills;
mod lag;
mod versions;

use std::time::Duration;

use anyhow::Result;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let number = |name: &str, otherwise: u64| {
        let given = arguments.iter().find_map(|argument| argument.strip_prefix(name)?.parse().ok());
        given.unwrap_or(otherwise)
    };
    let (rate, seconds, kills) = (number("rate=", 1000), number("seconds=", 20), number("kills=", 5));
    let (backlog, delay) = (number("backlog=", 40_000), Duration::from_millis(number("delay=", 20)));
    let (records, differing) = (number("records=", 100_000), number("differing=", 100));
    if rate > 0 {
        lag::measure(rate, Duration::from_secs(seconds), delay)?;
    }
    if kills > 0 {
        kills::measure(kills, delay)?;
    }
    if backlog > 0 {
        backlog::measure(backlog, delay)?;
    }
    if records > 0 {
        comparison::measure(records, differing, delay)?;
    }
    Ok(())
}
