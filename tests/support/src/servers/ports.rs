//! Ports that nobody uses.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};

/// Below what the system gives to those who ask for any port: a server that is started again gets
/// its own port back. Above them are the ports of the cluster bus.
const FIRST: u16 = 14_000;
/// Of a share. A process has one to itself, so that no other takes a port whose server is down.
const COUNT: u16 = 2_000;
const SHARES: u16 = 4;
/// How far the cluster bus is above the port of a node. The port is free as well where there is no
/// cluster.
pub(super) const BUS: u16 = 10_000;

/// A port that is free, with that of its cluster bus. A process of others may take it before it is
/// used: whoever starts a server on it tries again with the next.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = first()?;
    for _ in 1..COUNT {
        let port = first + 1 + NEXT.fetch_add(1, Ordering::Relaxed) % (COUNT - 1);
        if is_free(port) && is_free(port + BUS) {
            return Ok(port);
        }
    }
    bail!("there is no free port from {first} on")
}

fn is_free(port: u16) -> bool {
    listen(port).is_some()
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}

/// The first port of the share of this process, which holds it until it ends.
fn first() -> Result<u16> {
    static SHARE: OnceLock<Option<(u16, TcpListener)>> = OnceLock::new();
    let take =
        || (0..SHARES).map(|share| FIRST + share * COUNT).find_map(|first| Some((first, listen(first)?)));
    let share = SHARE.get_or_init(take).as_ref().map(|(first, _)| *first);
    share.with_context(|| {
        format!("{SHARES} processes have all ports from {FIRST} on; wait until one has ended")
    })
}
