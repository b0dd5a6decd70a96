//! What a daemon costs that has much to keep: how soon it is back, what it holds in memory, what it does when idle.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::load::{median, quantile_us, together};
use crate::process::{self, endpoint, processor, resident_mb};
use crate::{Plan, ours};

/// A figure of ours alone, as it is asked for.
pub(crate) struct Size {
    pub name: Cow<'static, str>,
    pub unit: &'static str,
    pub is: f64,
    /// `None`: it is only told.
    pub at_most: Option<f64>,
}

/// How long writers fill the log before the process is killed.
const FILLING: Duration = Duration::from_secs(3);
/// How often is looked whether the store file is being written to.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A checkpoint goes on for so long after it was last seen to write: it syncs then.
const CHECKPOINT_SYNC: Duration = Duration::from_millis(30);

/// A daemon that can be ended and started again on its data.
pub(crate) struct Daemon {
    data: tempfile::TempDir,
    child: Option<Child>,
    pub address: std::net::SocketAddr,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.end("KILL");
    }
}

impl Daemon {
    /// A daemon over a store with so many peers, each of which was changed once.
    pub(crate) async fn over(peers: usize) -> Result<Self> {
        let data = tempfile::tempdir()?;
        for _ in 0..2 {
            ours::fill(data.path(), peers).await?;
        }
        Ok(Self { data, child: None, address: process::address()? })
    }

    /// Starts it, and says how long it took until it was ready, in ms.
    pub(crate) fn start(&mut self) -> Result<f64> {
        let mut command = Command::new(ours::DAEMON);
        command.arg("--data-dir").arg(self.data.path()).args(["--node-id", "bench", "--control-listen"]);
        command.arg(self.address.to_string());
        let begun = Instant::now();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        while !self.is_ready() {
            ensure!(begun.elapsed() < Duration::from_secs(60), "the daemon is not ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    fn is_ready(&self) -> bool {
        let asked = || {
            let mut stream = TcpStream::connect(self.address)?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).map(|()| answer.ends_with(b"200"))
        };
        asked().unwrap_or(false)
    }

    pub(crate) fn end(&mut self, signal: &str) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status()?;
        child.wait()?;
        Ok(())
    }

    pub(crate) fn id(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("it does not run")?.id())
    }

    /// Changes peers with 64 in flight, so that the log fills.
    async fn write_much(&self) -> Result<()> {
        let channel = endpoint(self.address)?.connect().await?;
        together(FILLING, move |number, count| {
            let call = ours::cordon(channel.clone(), ours::key(number), count, None);
            async move { call.await.map(drop) }
        })
        .await?;
        Ok(())
    }
}

/// Changes one after another for so long: the p99 of those that no checkpoint ran beside, and the p99 and the longest of
/// the others, in microseconds. A checkpoint is seen by what it writes to the store file; `None`: there was none.
async fn beside_checkpoints(daemon: &Daemon, during: Duration) -> Result<Option<[f64; 3]>> {
    let channel = endpoint(daemon.address)?.connect().await?;
    let (file, until) = (daemon.data.path().join("registry.redb"), Instant::now() + during);
    let looking = std::thread::spawn(move || {
        let (mut last, mut written) = (None, Vec::new());
        while Instant::now() < until {
            let now = std::fs::metadata(&file).and_then(|it| it.modified()).ok();
            if last.replace(now).is_some_and(|last| last != now) {
                written.push(Instant::now());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        written
    });
    let mut calls = Vec::new();
    for turn in 0.. {
        let begun = Instant::now();
        if begun >= until {
            break;
        }
        ours::cordon(channel.clone(), ours::key(7), turn, None).await?;
        calls.push((begun, begun.elapsed()));
    }
    let written = looking.join().map_err(|_| anyhow::anyhow!("the look at the file failed"))?;
    let is_beside = |(begun, took): &(Instant, Duration)| {
        let next = written.partition_point(|at| *at + CHECKPOINT_SYNC < *begun);
        written.get(next).is_some_and(|at| *at <= *begun + *took + LOOK_EVERY)
    };
    let (beside, quiet): (Vec<_>, Vec<_>) = calls.into_iter().partition(is_beside);
    if beside.is_empty() || quiet.is_empty() {
        return Ok(None);
    }
    let times = |calls: Vec<(Instant, Duration)>| calls.into_iter().map(|(_, took)| took).collect::<Vec<_>>();
    let (mut beside, mut quiet) = (times(beside), times(quiet));
    let worst = quantile_us(&mut beside, 1.0);
    Ok(Some([quantile_us(&mut quiet, 0.99), quantile_us(&mut beside, 0.99), worst]))
}

/// Measures a small daemon and a large one.
pub(crate) async fn all(plan: &Plan) -> Result<Vec<Size>> {
    let quick = plan.runs == 1;
    let (runs, many) = if quick { (1, 2_000) } else { (3, 100_000) };
    let mut small = Daemon::over(1_000).await?;
    small.start()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let resident_small = resident_mb(small.id()?)?;
    let idle = processor(small.id()?, Duration::from_secs(if quick { 1 } else { 10 })).await?;
    let changes = beside_checkpoints(&small, Duration::from_secs(if quick { 3 } else { 20 })).await?;
    drop(small);

    let mut large = Daemon::over(many).await?;
    large.start()?;
    let (mut clean, mut killed) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        large.end("TERM")?;
        clean.push(large.start()?);
        large.write_much().await?;
        large.end("KILL")?;
        killed.push(large.start()?);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let resident_large = resident_mb(large.id()?)?;
    let of = |name: &'static str, unit, is, at_most| Size { name: name.into(), unit, is, at_most };
    let size = |name, unit, is, at_most| of(name, unit, is, Some(at_most));
    let told = |name, unit, is| of(name, unit, is, None);
    let mut sizes = vec![
        size("resident, 1,000 records", "MB", resident_small, 20.0),
        size("resident, 100,000 records", "MB", resident_large, 90.0),
        size("processor when idle", "%", idle, 0.2),
        size("restart, 100,000, after a clean stop", "ms", median(clean), 300.0),
        size("restart, 100,000, after kill -9", "ms", median(killed), 300.0),
    ];
    if let Some([quiet, beside, worst]) = changes {
        sizes.extend([
            told("p99 of a change, no checkpoint", "us", quiet),
            told("p99 of a change beside a checkpoint", "us", beside),
            told("the longest change beside a checkpoint", "us", worst),
            size("p99 beside a checkpoint to without", "x", beside / quiet, 3.0),
        ]);
    }
    Ok(sizes)
}
