//! Ports that nobody uses.

use std::fs::File;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below what the system gives to those who ask for any port: a server that is started again gets
/// its own port back. Above them are the ports of the cluster bus.
const FIRST: u16 = 14_000;
/// Of a share; a process has one to itself, so that no other takes a port whose server is down.
const COUNT: u16 = 1_000;
const SHARES: u16 = 8;
/// How far the cluster bus is above the port of a node. The port is free as well where there is no
/// cluster.
pub const BUS: u16 = 10_000;

/// A port that is free, with that of its cluster bus. A process of others may take it before it is
/// used: whoever starts a server on it tries again with the next.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = FIRST + share() * COUNT;
    for _ in 0..COUNT {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if is_free(port) && is_free(port + BUS) {
            return Ok(port);
        }
    }
    bail!("there is no free port from {first} on")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The share of this process: the first whose lock nobody holds, and where each is held, any.
fn share() -> u16 {
    static SHARE: OnceLock<(u16, Option<File>)> = OnceLock::new();
    let take = || {
        let own = |number| Some((number, Some(lock(number)?)));
        let any = (std::process::id() % u32::from(SHARES)) as u16;
        (0..SHARES).find_map(own).unwrap_or((any, None))
    };
    SHARE.get_or_init(take).0
}

/// Held until the process ends.
fn lock(share: u16) -> Option<File> {
    let file = File::create(std::env::temp_dir().join(format!("omnirelay-tests-ports-{share}.lock"))).ok()?;
    file.try_lock().ok().map(|()| file)
}
