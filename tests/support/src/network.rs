//! Networks of a test's own: namespaces, in which this host has other addresses than the machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Of the addresses that are for examples (RFC 5737).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// Runs a test where the host has an address besides loopback, which it is given: it comes from another host
/// when it calls `127.0.0.1` from there. What the test starts, threads and processes, is in that network too.
///
/// As root the network is the test's own, a namespace; otherwise, or where no namespace may be made, it is the
/// machine's, and must have more than loopback.
pub fn with_an_address<F>(test: impl FnOnce(IpAddr) -> F + Send) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let run = || {
        let address = match enter() {
            Ok(()) => ADDRESS.into(),
            Err(why) => machines_own().context(why)?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test(address))
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Moves this thread into a namespace that has only loopback, with [`ADDRESS`] on it.
fn enter() -> Result<()> {
    NetworkNamespace::new(&format!("ip address add {ADDRESS}/32 dev lo"))?.enter()
}

/// A network namespace. It is gone with this value, and with the test's process, once nothing runs in it.
pub struct NetworkNamespace {
    /// Keeps it while its input is open.
    holder: Child,
}

impl NetworkNamespace {
    /// A new one, with loopback, and set up by these commands of a shell.
    ///
    /// # Errors
    /// Who runs the test is not root, or the machine lets nobody make one.
    pub fn new(set_up: &str) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "only root makes a network namespace");
        let script = format!("ip link set lo up && {{ {set_up}; }} && echo up && exec cat");
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut made = Self { holder: command.spawn().context("unshare, of util-linux")? };
        let mut said = String::new();
        BufReader::new(made.holder.stdout.take().context("no output")?).read_line(&mut said)?;
        ensure!(said == "up\n", "no network namespace could be made");
        Ok(made)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// Moves this thread into it, and what the thread starts from then on.
    pub fn enter(&self) -> Result<()> {
        enter_at(&self.path())
    }

    /// A runtime of one thread that is in it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn runtime(&self) -> Result<tokio::runtime::Runtime> {
        let path = self.path();
        // A thread that does not get there reaches nobody, which is told then.
        let enter = move || drop(enter_at(&path));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(builder.worker_threads(1).on_thread_start(enter).enable_all().build()?)
    }

    /// What `work` gives that a thread does in it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let run = || {
            self.enter()?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }
}

fn enter_at(path: &str) -> Result<()> {
    let namespace = File::open(path)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// The address that the machine would speak to others from. Nothing is sent.
fn machines_own() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((ADDRESS, 9)).context("this machine has no network but loopback")?;
    Ok(socket.local_addr()?.ip())
}
