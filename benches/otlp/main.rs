//! What the export by OTLP costs: processor time of a call without it, and with all spans or a tenth of them, one after the other in
//! one daemon, and the memory that it takes while its collector hangs.
//!
//! Nothing is asserted. `OMNIRELAY_OTLP_CALLS` says how many calls each has, by default 1,000,000. Run with `cargo bench --bench otlp`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 4;
const CALLS: usize = 1_000_000;

/// What is sent, by the settings of a round.
const MODES: [(&str, &str); 3] = [
    ("off", "traces: false\n  metrics: false"),
    ("all spans and metrics", "tracesSampled: 1.0"),
    ("a tenth of spans, and metrics", "tracesSampled: 0.1"),
];

fn main() -> Result<()> {
    let calls: usize = std::env::var("OMNIRELAY_OTLP_CALLS").ok().map_or(Ok(CALLS), |calls| calls.parse())?;
    let each = (calls / ROUNDS).max(CONNECTIONS);
    let place = tempfile::tempdir()?;
    let collector = Collector::start()?;
    let daemon = Daemon::start(place.path(), &collector.address, MODES[0].1)?;
    ensure!(called(&daemon.control, each / 5)?, "a call failed");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut used = Vec::new();
        for (_, settings) in MODES {
            daemon.reload(&collector.address, settings)?;
            let before = daemon.processor_nanos()?;
            ensure!(called(&daemon.control, each)?, "a call failed");
            // What is left is sent within a second.
            sleep(Duration::from_millis(1500));
            used.push((daemon.processor_nanos()? - before) as f64 / each as f64 / 1000.0);
        }
        rounds.push(used);
    }
    println!("{} calls in {ROUNDS} rounds, median of them:", each * ROUNDS);
    for (mode, (name, _)) in MODES.iter().enumerate() {
        let micros = median(rounds.iter().map(|used| used[mode]).collect());
        let share = median(rounds.iter().map(|used| (used[mode] / used[0] - 1.0) * 100.0).collect());
        println!("  {name}: {micros:.1} us of processor a call, {share:+.1} % (asked: at most 2 %)");
    }
    println!("  {} requests came to the collector", collector.requests.load(Ordering::Relaxed));
    drop(daemon);
    memory_while_away(each)
}

/// Memory that a daemon takes, which has sent nothing before, while the collector takes connections and answers nothing.
fn memory_while_away(calls: usize) -> Result<()> {
    let (place, collector) = (tempfile::tempdir()?, Collector::start()?);
    collector.is_hung.store(true, Ordering::Relaxed);
    let daemon = Daemon::start(place.path(), &collector.address, MODES[0].1)?;
    called(&daemon.control, calls)?;
    let before = daemon.resident_kib()?;
    daemon.reload(&collector.address, MODES[1].1)?;
    called(&daemon.control, calls)?;
    let grown = daemon.resident_kib()?.saturating_sub(before);
    println!("  {grown} kB more resident after {calls} calls while it hangs (asked: at most 2000 kB)");
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Calls for the peers so many times, on some connections. False: a call failed.
fn called(control: &str, calls: usize) -> Result<bool> {
    let head = format!("GET /control/peers?pageSize=1 HTTP/1.1\r\nhost: {control}\r\n\r\n");
    let one = |count: usize| -> Result<bool> {
        let mut stream = TcpStream::connect(control)?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; 16 * 1024];
        for _ in 0..count {
            stream.write_all(head.as_bytes())?;
            if !read_answer(&mut stream, &mut buffer)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| one(calls / CONNECTIONS))).collect();
        running.into_iter().try_fold(true, |all, one| Ok(all & one.join().unwrap()?))
    })
}

/// Reads an answer with its length in the head. Whether it is one that the call went well.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<bool> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..])?;
        ensure!(count > 0, "the connection has ended");
        filled += count;
        let text = String::from_utf8_lossy(&buffer[..filled]);
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length: ").and_then(|length| length.parse::<usize>().ok())
        });
        let length = length.context("no length")?;
        if filled >= head.len() + 4 + length {
            return Ok(head.starts_with("HTTP/1.1 200"));
        }
    }
}

/// A collector that takes whatever is posted.
struct Collector {
    address: String,
    requests: Arc<AtomicU64>,
    is_hung: Arc<AtomicBool>,
}

impl Collector {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (requests, is_hung) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, hangs) = (requests.clone(), is_hung.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counted, hangs) = (counted.clone(), hangs.clone());
                std::thread::spawn(move || take(stream, &counted, &hangs));
            }
        });
        Ok(Self { address, requests, is_hung })
    }
}

/// Takes requests until the connection ends.
fn take(mut stream: TcpStream, counted: &AtomicU64, is_hung: &AtomicBool) -> Result<()> {
    let mut read = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|end| end == b"\r\n\r\n") {
                break end + 4;
            }
            let count = stream.read(&mut buffer)?;
            ensure!(count > 0, "it has ended");
            read.extend_from_slice(&buffer[..count]);
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let whole = end + length.unwrap_or(0);
        while read.len() < whole {
            let count = stream.read(&mut buffer)?;
            ensure!(count > 0, "it has ended");
            read.extend_from_slice(&buffer[..count]);
        }
        read.drain(..whole);
        counted.fetch_add(1, Ordering::Relaxed);
        if !is_hung.load(Ordering::Relaxed) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
    }
}

/// A daemon of the benchmark; killed when it is dropped.
struct Daemon {
    child: Child,
    control: String,
    config: std::path::PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(place: &Path, collector: &str, settings: &str) -> Result<Self> {
        let control = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = place.join("omnirelayd.yaml");
        configure(&config, collector, settings)?;
        let child = Command::new(env!("CARGO_BIN_EXE_omnirelayd"))
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(place.join("data"))
            .args(["--node-id", "bench", "--control-listen", &control])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let daemon = Self { child, control, config };
        let begun = Instant::now();
        while !called(&daemon.control, CONNECTIONS).unwrap_or(false) {
            ensure!(begun.elapsed() < Duration::from_secs(20), "the daemon does not answer");
            sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Has the daemon take over other settings.
    fn reload(&self, collector: &str, settings: &str) -> Result<()> {
        configure(&self.config, collector, settings)?;
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-HUP", &pid]).status()?.success(), "no SIGHUP was sent");
        sleep(Duration::from_millis(500));
        Ok(())
    }

    /// Processor time of all its threads, in nanoseconds.
    fn processor_nanos(&self) -> Result<u64> {
        let mut nanos = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += text.split(' ').next().context("no figure")?.parse::<u64>()?;
        }
        Ok(nanos)
    }

    fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

fn configure(file: &Path, collector: &str, settings: &str) -> Result<()> {
    // One caller makes all calls.
    let rates = "control:\n  rateLimit:\n    callsPerSecond: 1000000\n    burst: 10000000\n";
    std::fs::write(file, format!("{rates}otlp:\n  endpoint: http://{collector}\n  {settings}\n"))?;
    Ok(())
}
