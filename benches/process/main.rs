//! What the programs cost: start, memory, idle time, and the command line beside etcdctl.
//!
//! Nothing is asserted. Run with `cargo bench --bench process`.
#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_peer_records::PEER;
use omnirelay_store::{Commit, EmbeddedStore, Pulse, RecordId, Store, Write as StoreWrite};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message;

const DAEMON: &str = env!("CARGO_BIN_EXE_omnirelayd");
const CLI: &str = env!("CARGO_BIN_EXE_omnirelay");
const WATCHES: usize = 10_000;

fn main() -> Result<()> {
    version()?;
    for (records, asked) in [(0, 50), (10_000, 100)] {
        start(records, asked)?;
    }
    idle()?;
    list_beside_etcdctl()?;
    watches()
}

/// A daemon of the benchmark; killed when it is dropped.
struct Daemon {
    child: Child,
    control: String,
    /// From the start of the process to its first answered list.
    first_answer: Duration,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn daemon(data: &Path) -> Result<Daemon> {
    let control = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let begun = Instant::now();
    let child = Command::new(DAEMON)
        .arg("--data-dir")
        .arg(data)
        .args(["--node-id", "bench", "--control-listen", &control])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut daemon = Daemon { child, control, first_answer: Duration::ZERO };
    while !answers(&daemon.control) {
        ensure!(begun.elapsed() < Duration::from_secs(20), "the daemon does not answer");
        std::thread::sleep(Duration::from_micros(500));
    }
    daemon.first_answer = begun.elapsed();
    Ok(daemon)
}

/// Whether a peer can be read.
fn answers(control: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(control) else { return false };
    let head = format!("GET /control/peers?pageSize=1 HTTP/1.1\r\nhost: {control}\r\n\r\n");
    let mut status = [0u8; 12];
    stream.write_all(head.as_bytes()).is_ok()
        && stream.read_exact(&mut status).is_ok()
        && &status == b"HTTP/1.1 200"
}

/// A store with this many peers that have left.
fn filled(data: &Path, records: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(data)?);
    let metadata = pb::PeerMetadata {
        role: "worker".to_owned(),
        cluster_id: "eu-1".to_owned(),
        region: "eu-west-1".to_owned(),
        mesh_version: "0.1.0".to_owned(),
        labels: [("tier".to_owned(), "std".to_owned())].into(),
        ..Default::default()
    };
    let value = PeerValue {
        status: pb::peer::Status::Left.into(),
        status_since: Some(omnirelay_wire::timestamp::Timestamp {
            seconds: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() as i64,
            nanos: 0,
        }),
        metadata: Some(metadata),
        ..Default::default()
    };
    let value = Bytes::from(value.encode_to_vec());
    let epoch = runtime.block_on(store.pulse(Pulse::default()))?.epoch;
    for first in (0..records).step_by(250) {
        let writes = (first..records.min(first + 250)).map(|number| StoreWrite::Put {
            id: RecordId::new(PEER, format!("peer-{number:05}")),
            value: value.clone(),
            group: None,
        });
        let commit = Commit { epoch, writes: writes.collect(), writer: "bench".into(), ..Commit::default() };
        runtime.block_on(store.commit(commit))?;
    }
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    millis(times[times.len() / 2])
}

/// How long a command takes, the median of `runs`.
fn timed(runs: usize, mut command: impl FnMut() -> Command) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut command = command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        ensure!(command.status()?.success(), "{command:?} failed");
        times.push(begun.elapsed());
    }
    Ok(median(times))
}

fn version() -> Result<()> {
    let bare = timed(50, || Command::new("true"))?;
    let ours = timed(50, || {
        let mut command = Command::new(CLI);
        command.arg("--version");
        command
    })?;
    println!("omnirelay --version: {ours:.2} ms, /bin/true {bare:.2} ms (asked: 5 ms)");
    Ok(())
}

fn start(records: usize, asked: u64) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let place = tempfile::tempdir()?;
        filled(place.path(), records)?;
        times.push(daemon(place.path())?.first_answer);
    }
    times.sort();
    println!(
        "start to first answer with {records} records: median {:.0} ms, worst {:.0} ms (asked: {asked} ms)",
        millis(times[2]),
        millis(times[4])
    );
    Ok(())
}

fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Processor time of a process in seconds; the kernel counts in hundredths.
fn processor_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

fn idle() -> Result<()> {
    const SECONDS: u64 = 30;
    let place = tempfile::tempdir()?;
    filled(place.path(), 1000)?;
    let daemon = daemon(place.path())?;
    std::thread::sleep(Duration::from_secs(3));
    let before = processor_seconds(daemon.child.id())?;
    std::thread::sleep(Duration::from_secs(SECONDS));
    let used = processor_seconds(daemon.child.id())? - before;
    println!(
        "idle with 1,000 records: {:.1} MB resident (asked: 16 MB), {:.2} % of a core (asked: 0.2 %)",
        resident_mb(daemon.child.id())?,
        used / SECONDS as f64 * 100.0
    );
    Ok(())
}

fn list_beside_etcdctl() -> Result<()> {
    let place = tempfile::tempdir()?;
    let daemon = daemon(place.path())?;
    let address = format!("http://{}", daemon.control);
    let config = place.path().join("config.yaml");
    let list = || {
        let mut command = Command::new(CLI);
        command.args(["--addr", &address, "mesh", "peers", "list"]).env("OMNIRELAY_CONFIG", &config);
        command
    };
    let ours = timed(50, list)?;
    println!("omnirelay mesh peers list: {ours:.2} ms (asked: no slower than etcdctl get)");
    let data = tempfile::tempdir()?;
    let urls = ["http://127.0.0.1:42379", "http://127.0.0.1:42380"];
    let started = Command::new("etcd")
        .arg("--data-dir")
        .arg(data.path())
        .args(["--listen-client-urls", urls[0], "--advertise-client-urls", urls[0]])
        .args(["--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1]])
        .args(["--initial-cluster", &format!("default={}", urls[1]), "--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        println!("etcdctl get: etcd is not installed");
        return Ok(());
    };
    let _etcd = Daemon { child, control: String::new(), first_answer: Duration::ZERO };
    std::thread::sleep(Duration::from_secs(3));
    let get = || {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", urls[0], "get", "a"]);
        command
    };
    let theirs = timed(50, get)?;
    println!("etcdctl get: {theirs:.2} ms; ours takes {:.2} of it", ours / theirs);
    Ok(())
}

/// Many watches that are open and read nothing.
fn watches() -> Result<()> {
    let pid = std::process::id().to_string();
    let limit = format!("--nofile={0}:{0}", WATCHES + 1000);
    let raised = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    ensure!(raised.is_ok_and(|status| status.success()), "the limit of open files cannot be raised");
    let place = tempfile::tempdir()?;
    let daemon = daemon(place.path())?;
    let before = resident_mb(daemon.child.id())?;
    let mut held = Vec::new();
    for _ in 0..WATCHES {
        let mut stream = TcpStream::connect(&daemon.control)?;
        let head = format!(
            "GET /control/peers HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n\r\n",
            daemon.control
        );
        stream.write_all(head.as_bytes())?;
        held.push(stream);
    }
    std::thread::sleep(Duration::from_secs(3));
    let after = resident_mb(daemon.child.id())?;
    println!(
        "{WATCHES} open watches: {after:.0} MB resident (asked: 300 MB), {:.1} kB each",
        (after - before) * 1000.0 / WATCHES as f64
    );
    Ok(())
}
