//! What callers see, here and of etcd, side by side in one run.
//!
//! `cargo bench --bench versus` starts `omnirelayd` on an embedded store, the etcd of the distribution if it is
//! installed, and a bare server that answers without doing anything, each in a process of its own. One client calls all
//! of them over gRPC on loopback; they take turns, so that what the machine does otherwise is done to all. Each ratio is
//! the median of those of five runs. Nothing is asserted: what loses is printed as a loss.
//!
//! `-- NAME` measures the rows with this in their name (`json`, `sizes` and `fleet`: those of ours alone; `growth`: what
//! they cost where there is more, which is measured only when it is asked for); `--json` prints a document; `--quick`
//! measures for a few seconds, to see that it works.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]

use omnirelay_support::servers;

mod echo;
mod etcd;
mod fleet;
mod growth;
mod json;
mod load;
mod ours;
mod process;
mod rows;
mod sizes;
mod table;

use anyhow::Result;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub runs: usize,
    /// How long one subject is called in one run.
    pub turn: std::time::Duration,
    /// What is in the names of the rows that are measured.
    pub only: String,
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // What serves nothing but the echo.
    if given(echo::FLAG) {
        return echo::serve();
    }
    // `cargo test --benches` only wants to know that it starts.
    if given("--test") {
        return Ok(());
    }
    let (runs, turn) = if given("--quick") { (1, 100) } else { (5, 2_000) };
    let only = arguments.iter().find(|argument| !argument.starts_with('-')).cloned().unwrap_or_default();
    let plan = Plan { runs, turn: std::time::Duration::from_millis(turn), only };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let table = runtime.block_on(rows::all(&plan))?;
    if given("--json") {
        println!("{}", table.to_json());
    } else {
        println!("{}", table.to_text());
    }
    Ok(())
}
