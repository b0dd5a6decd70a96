//! A process that is measured: started here, ended with its last handle.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tonic::transport::{Channel, Endpoint};

/// How many connections a client has where calls are many.
pub(crate) const CONNECTIONS: usize = 4;

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    _data: tempfile::TempDir,
    pub address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody uses.
pub(crate) fn address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Process {
    /// Starts `command`, which listens on `address`, and waits until somebody does.
    pub(crate) async fn start(
        mut command: Command,
        data: tempfile::TempDir,
        address: SocketAddr,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let process = Self { child, _data: data, address };
        for _ in 0..200 {
            if endpoint(address)?.connect().await.is_ok() {
                return Ok(process);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("{command:?} does not answer")
    }

    pub(crate) async fn channels(&self) -> Result<Vec<Channel>> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(endpoint(self.address)?.connect().await?);
        }
        Ok(channels)
    }

    /// How much of one core it uses, in percent.
    pub(crate) async fn processor(&self, during: Duration) -> Result<f64> {
        processor(self.child.id(), during).await
    }

    /// Its memory in MB.
    pub(crate) fn resident_mb(&self) -> Result<f64> {
        resident_mb(self.child.id())
    }
}

/// The memory of a process in MB, with what it has read of its program.
pub(crate) fn resident_mb(id: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(kb.context("no VmRSS")?.trim().parse::<f64>()? / 1e3)
}

pub(crate) fn endpoint(address: SocketAddr) -> Result<Endpoint> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true))
}

/// How much of one core a process uses, in percent.
pub(crate) async fn processor(id: u32, during: Duration) -> Result<f64> {
    let before = Used::by(id)?;
    tokio::time::sleep(during).await;
    Ok(Used::by(id)?.since(&before) / during.as_secs_f64() * 100.0)
}

/// How long each thread of a process has run, in nanoseconds.
pub(crate) struct Used(BTreeMap<OsString, u64>);

impl Used {
    pub(crate) fn by(id: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
            let thread = thread?;
            // It may have ended since it was listed.
            let Ok(ran) = std::fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let ran = ran.split(' ').next().context("no schedstat")?.parse()?;
            threads.insert(thread.file_name(), ran);
        }
        Ok(Self(threads))
    }

    /// How much processor time was used since, in seconds; what threads used that have ended is left out.
    pub(crate) fn since(&self, before: &Self) -> f64 {
        let used = |(thread, now): (&OsString, &u64)| now - before.0.get(thread).copied().unwrap_or(0);
        self.0.iter().map(used).sum::<u64>() as f64 / 1e9
    }
}
