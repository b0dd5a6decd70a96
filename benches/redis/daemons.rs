//! Real daemons on a real server: what an idle one asks of it, and what records weigh.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_peer_records::PEER;
use omnirelay_store::{Commit, RecordId, RedisStore, Store, Write};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message;

use crate::servers::RedisServer;
use crate::{MESH, ROUNDS, epoch, median, store};

const DAEMON: &str = env!("CARGO_BIN_EXE_omnirelayd");
const MEASURED: Duration = Duration::from_secs(10);
const RECORDS: usize = 10_000;
const READERS: usize = 4;
const READING: Duration = Duration::from_secs(2);
/// The commands that a daemon sends; what its scripts call is counted by the server as well.
const SENT: [&str; 7] = ["evalsha", "eval", "xread", "get", "info", "ping", "config|get"];

/// A daemon on the server; killed when it is dropped.
struct Daemon {
    child: Child,
    control: String,
    _data: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many commands a second an idle daemon sends, and that reading sends none.
pub(crate) fn idle() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let daemon = Daemon::start(&server.url())?;
    std::thread::sleep(Duration::from_secs(3));
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (before, at) = (sent(&server)?, Instant::now());
        std::thread::sleep(MEASURED);
        rates.push((sent(&server)? - before) as f64 / at.elapsed().as_secs_f64());
    }
    let worst = rates.iter().copied().fold(0.0, f64::max);
    println!("idle      commands/s={:.2} worst={worst:.2}", median(rates));
    reads(&server, &daemon)
}

/// Reads of one peer, beside a daemon on the embedded store, and what they ask of the server.
fn reads(server: &RedisServer, on_redis: &Daemon) -> Result<()> {
    let embedded = Daemon::start("embedded:")?;
    let (mut ratios, mut rates, mut commands) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let beside = read_rate(&embedded.control)?;
        let before = sent(server)?;
        let rate = read_rate(&on_redis.control)?;
        commands.push((sent(server)? - before) as f64 / READING.as_secs_f64());
        ratios.push(rate / beside);
        rates.push(rate);
    }
    let worst = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "reads     reads/s={:.0} of_embedded={:.2} worst={worst:.2} commands/s_meanwhile={:.2}",
        median(rates),
        median(ratios),
        median(commands),
    );
    Ok(())
}

/// How many peers a second are read over a few connections.
fn read_rate(control: &str) -> Result<f64> {
    let begun = Instant::now();
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let control = control.to_owned();
            std::thread::spawn(move || read_for(&control, begun + READING))
        })
        .collect();
    let mut reads = 0;
    for reader in readers {
        reads += reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
    }
    Ok(reads as f64 / begun.elapsed().as_secs_f64())
}

fn read_for(control: &str, until: Instant) -> Result<u64> {
    let mut stream = TcpStream::connect(control)?;
    stream.set_nodelay(true)?;
    let request = format!("GET /control/peers/bench HTTP/1.1\r\nhost: {control}\r\n\r\n");
    let mut answer = vec![0; 16 * 1024];
    let mut reads = 0;
    while Instant::now() < until {
        stream.write_all(request.as_bytes())?;
        let count = stream.read(&mut answer)?;
        // Small enough to come in one piece.
        ensure!(
            answer.get(..count).is_some_and(|answer| answer.starts_with(b"HTTP/1.1 200")),
            "a read failed"
        );
        reads += 1;
    }
    Ok(reads)
}

/// What ten thousand records weigh on the server and in a daemon.
pub(crate) async fn memory() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = store(&server.url())?;
    let empty: u64 = server.info("used_memory")?.parse()?;
    let daemon = Daemon::start(&server.url())?;
    let resident_before = daemon.resident_kib()?;
    drop(daemon);
    fill(&store).await?;
    let full: u64 = server.info("used_memory")?.parse()?;
    server.cli::<i64>(&["DEL", &format!("{{omnirelay:{MESH}}}:log")])?;
    let records: u64 = server.info("used_memory")?.parse()?;
    let daemon = Daemon::start(&server.url())?;
    let resident = daemon.resident_kib()?;
    println!(
        "memory    records={RECORDS} redis_mib={:.1} of_which_log_mib={:.1} daemon_rss_mib={:.1} without_records_mib={:.1}",
        mib(full - empty),
        mib(full - records),
        resident as f64 / 1024.0,
        resident_before as f64 / 1024.0,
    );
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

async fn fill(store: &RedisStore) -> Result<()> {
    let metadata = pb::PeerMetadata {
        role: "worker".to_owned(),
        cluster_id: "eu-1".to_owned(),
        region: "eu-west-1".to_owned(),
        mesh_version: "0.1.0".to_owned(),
        labels: [("tier".to_owned(), "std".to_owned())].into(),
        ..Default::default()
    };
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() as i64;
    let value = PeerValue {
        status: pb::peer::Status::Left.into(),
        status_since: Some(omnirelay_wire::timestamp::Timestamp { seconds, nanos: 0 }),
        metadata: Some(metadata),
        ..Default::default()
    };
    let value = Bytes::from(value.encode_to_vec());
    let epoch = epoch(store).await?;
    for first in (0..RECORDS).step_by(250) {
        let put = |number| Write::Put {
            id: RecordId::new(PEER, format!("peer-{number:05}")),
            value: value.clone(),
            group: None,
        };
        let writes = (first..RECORDS.min(first + 250)).map(put).collect();
        store.commit(Commit { epoch, writes, writer: "bench".into(), ..Commit::default() }).await?;
    }
    Ok(())
}

/// How many commands clients have sent so far.
fn sent(server: &RedisServer) -> Result<u64> {
    let stats: String = server.cli(&["INFO", "commandstats"])?;
    let calls = |line: &str| -> Option<u64> {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let counted = SENT.contains(&name) && !matches!(name, "info" | "get");
        counted.then(|| figures.split(',').next()?.parse().ok()).flatten()
    };
    Ok(stats.lines().filter_map(calls).sum())
}

/// Reads a path over a new connection; returns the status.
fn get(control: &str, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(control)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {control}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).context("no status")?.parse()?)
}

impl Daemon {
    fn start(url: &str) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let control = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let child = Command::new(DAEMON)
            .arg("--data-dir")
            .arg(data.path())
            .args(["--node-id", "bench", "--cluster", MESH, "--control-listen", &control, "--store", url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let daemon = Self { child, control, _data: data };
        let begun = Instant::now();
        while !get(&daemon.control, "/control/peers/bench").is_ok_and(|status| status == 200) {
            ensure!(begun.elapsed() < Duration::from_secs(20), "the daemon does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }
}
