//! The fencing gate: what a check costs, and what a greater token costs.
//!
//! `cargo bench --bench gate` prints one line per figure; nothing is asserted. A check is one call whose
//! token is the mark. A greater token waits for the disk, beside the limit of this one: a file written,
//! synced and renamed, and its directory synced. `GATE_BENCH_DIR` says where (default: a temporary
//! directory).

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Result;
use omnirelay_sdk::FencingGate;

const CHECKS: u32 = 2_000_000;
const RAISES: u32 = 200;
const RAISES_OF_MANY: u32 = 20;
const FILLERS: u32 = 256;

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn say(line: &str) {
    println!("{line}");
}

fn main() -> Result<()> {
    // `cargo test --benches`, which does not say so, only wants to know that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let own = tempfile::tempdir()?;
    let dir = std::env::var_os("GATE_BENCH_DIR").map_or_else(|| own.path().to_path_buf(), Into::into);
    checks("admit, token is the mark", |gate| _ = black_box(gate.admit("shard/orders/7", 7)))?;
    checks("run, token is the mark", |gate| _ = black_box(gate.run("shard/orders/7", 7, || ())))?;
    checks("admit, stale token", |gate| _ = black_box(gate.admit("shard/orders/7", 6)))?;
    limit(&dir)?;
    for scopes in [1, 1_000, 10_000, 100_000] {
        raises(&dir, scopes)?;
    }
    Ok(())
}

/// Times one call after the other, by one thread and by two on the same scope.
fn checks(what: &str, call: impl Fn(&FencingGate) + Sync) -> Result<()> {
    let gate = FencingGate::in_memory();
    gate.admit("shard/orders/7", 7)?;
    for threads in [1, 2] {
        let barrier = Barrier::new(threads);
        let timed = || {
            barrier.wait();
            let begun = Instant::now();
            for _ in 0..CHECKS {
                call(&gate);
            }
            begun.elapsed()
        };
        let slowest = std::thread::scope(|scope| {
            let timing: Vec<_> = (0..threads).map(|_| scope.spawn(timed)).collect();
            timing.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or_default()
        });
        let each = slowest.as_nanos() / u128::from(CHECKS);
        say(&format!("{what:<32} {threads} thread(s)  {each:>6} ns"));
    }
    Ok(())
}

/// What the disk takes for the least that is durable.
fn limit(dir: &Path) -> Result<()> {
    let (path, prepared) = (dir.join("limit"), dir.join("limit.new"));
    let times = timed(RAISES, |_| {
        let mut file = File::create(&prepared)?;
        file.write_all(b"x")?;
        file.sync_all()?;
        std::fs::rename(&prepared, &path)?;
        Ok(File::open(dir)?.sync_all()?)
    })?;
    say_times("limit: write, sync, rename, sync", &times);
    Ok(())
}

fn raises(dir: &Path, scopes: u32) -> Result<()> {
    let path = dir.join(format!("marks-{scopes}"));
    let gate = FencingGate::open(&path)?;
    // Threads that wait for each other's writes share them; one by one, many scopes would take long.
    std::thread::scope(|threads| {
        for number in 0..FILLERS.min(scopes) {
            let gate = &gate;
            threads.spawn(move || {
                for at in (number..scopes).step_by(FILLERS as usize) {
                    let _ = gate.admit(&scope(at), 1);
                }
            });
        }
    });
    let count = if scopes > 1000 { RAISES_OF_MANY } else { RAISES };
    let times = timed(count, |token| Ok(gate.admit(&scope(0), u64::from(token) + 2).map(drop)?))?;
    say_times(&format!("greater token, {scopes} scopes known"), &times);
    Ok(())
}

fn scope(number: u32) -> String {
    format!("shard/orders/{number}")
}

/// The times of `count` calls, in order of length.
fn timed(count: u32, call: impl Fn(u32) -> Result<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..count {
        let begun = Instant::now();
        call(number)?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn say_times(what: &str, times: &[Duration]) {
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let (median, worst) = (ms(times.get(times.len() / 2)), ms(times.last()));
    say(&format!("{what:<44} median {median:>8.3} ms  worst {worst:>8.3} ms"));
}
