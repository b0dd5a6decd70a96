//! What proof costs: certificates that are issued, calls that are proven, handshakes, hosts that join, and rotations under
//! load.
//!
//! `cargo bench --bench identity` starts daemons and a Redis of its own; each figure stands beside what was asked for, and
//! where there is one, beside what does the same with nothing around it in the same run. Nothing is asserted but that
//! nothing fails which must not. Behind it the names of some parts: `issuing`, `signed`, `calls`, `handshakes`, `enrolments`,
//! `rotations`, `strangers`; `rounds=N` and `seconds=N` set how often and for how long each is measured, `roots=N` how often the root is
//! rotated, a minute each.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first surprise"
)]

use omnirelay_support::{process, servers};

#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../versus/load.rs"]
mod load;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../versus/process.rs"]
mod measured;

mod bare;
mod calls;
mod enrolments;
mod handshakes;
mod issuing;
mod mesh;
mod rotations;
mod signed;
mod strangers;

use std::time::Duration;

use anyhow::Result;

/// How many files this process and its daemons may have open.
const FILES: usize = 20_000;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: usize,
    /// How long each subject is measured in a round.
    pub turn: Duration,
    /// How often the root is rotated under load.
    pub roots: usize,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [first, folder] = arguments.as_slice()
        && first == bare::SUBCOMMAND
    {
        return runtime.block_on(bare::serve(folder.as_ref()));
    }
    let number = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name)?.parse().ok());
    let plan = Plan {
        rounds: number("rounds=").unwrap_or(5).max(1) as usize,
        turn: Duration::from_secs(number("seconds=").unwrap_or(2).max(1)),
        roots: number("roots=").unwrap_or(3).max(1) as usize,
    };
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.contains('=')).collect();
    let asked = |part: &str| named.is_empty() || named.iter().any(|name| *name == part);
    process::raise_open_files(FILES)?;
    if asked("issuing") {
        runtime.block_on(issuing::all(plan))?;
    }
    if asked("signed") {
        runtime.block_on(signed::all(plan))?;
    }
    if asked("calls") {
        runtime.block_on(calls::all(plan))?;
    }
    if asked("handshakes") {
        runtime.block_on(handshakes::all(plan))?;
    }
    if asked("enrolments") {
        runtime.block_on(enrolments::all(plan))?;
    }
    if asked("strangers") {
        runtime.block_on(strangers::all(plan))?;
    }
    if asked("rotations") {
        runtime.block_on(rotations::all(plan))?;
    }
    Ok(())
}

/// What came of many calls.
#[derive(Clone, Copy, Debug)]
pub struct Together {
    pub per_second: f64,
    /// How much of the answering process's time each took, in microseconds.
    pub cost_us: f64,
}

/// Calls a second when 64 are under way, and what they cost the process that answers. A call hears which of the 64 it is.
pub async fn together<F, Fut>(turn: Duration, answering: u32, call: F) -> Result<Together>
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let before = measured::Used::by(answering)?;
    let (calls, took) = load::counted(turn, move |number, _| call(number)).await?;
    let cost = measured::Used::by(answering)?.since(&before);
    Ok(Together { per_second: calls as f64 / took.as_secs_f64(), cost_us: cost * 1e6 / calls as f64 })
}

/// The median of the ratios or differences of two subjects, round by round.
pub fn paired(of: &[f64], beside: &[f64], by: impl Fn(f64, f64) -> f64) -> f64 {
    load::median(of.iter().zip(beside).map(|(of, beside)| by(*of, *beside)).collect())
}

/// A figure that was asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    AtLeast(f64),
    AtMost(f64),
}

/// Prints a figure, beside what was asked for.
pub fn say(what: &str, figure: f64, unit: &str, asked: Option<Asked>) {
    let digits = if figure.abs() >= 100.0 { 0 } else { 2 };
    let beside = asked.map_or_else(String::new, |asked| {
        let (word, limit, is_met) = match asked {
            Asked::AtLeast(limit) => ("at least", limit, figure >= limit),
            Asked::AtMost(limit) => ("at most", limit, figure <= limit),
        };
        format!("  (asked: {word} {limit}{})", if is_met { "" } else { ": MISSED" })
    });
    println!("{what:<62} {figure:>9.digits$} {unit}{beside}");
}
