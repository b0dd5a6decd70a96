//! A network of a test's own, in which this host has an address that is not loopback, whatever the machine has.

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
    ensure!(rustix::process::geteuid().is_root(), "only root makes a network namespace");
    let set_up = format!("ip link set lo up && ip address add {ADDRESS}/32 dev lo && echo up && exec cat");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &set_up]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = command.spawn().context("unshare, of util-linux")?;
    let entered = enter_that_of(&mut holder);
    drop(holder.stdin.take());
    holder.wait()?;
    entered
}

fn enter_that_of(holder: &mut Child) -> Result<()> {
    let mut said = String::new();
    BufReader::new(holder.stdout.take().context("no output")?).read_line(&mut said)?;
    ensure!(said == "up\n", "no network namespace could be made");
    let namespace = File::open(format!("/proc/{}/ns/net", holder.id()))?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// The address that the machine would speak to others from. Nothing is sent.
fn machines_own() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((ADDRESS, 9)).context("this machine has no network but loopback")?;
    Ok(socket.local_addr()?.ip())
}
