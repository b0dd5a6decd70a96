//! Ports that nobody uses.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Below what the system gives to those who ask for any port: a server that is started again gets
/// its own port back. Above them are the ports of the cluster bus.
const FIRST: u16 = 14_000;
const COUNT: u16 = 8_000;
/// How far the cluster bus is above the port of a node. The port is free as well where there is no
/// cluster.
pub const BUS: u16 = 10_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that is free, with that of its cluster bus. Another process may take it before it is
/// used: whoever starts a server on it tries again with the next.
pub fn free() -> Result<u16> {
    // Test binaries run side by side; each begins somewhere else.
    let begin = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos() ^ std::process::id();
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((u32::from(COUNT) + begin % 97 * 83 + step) % u32::from(COUNT))?;
        if is_free(port) && is_free(port + BUS) {
            return Ok(port);
        }
    }
    bail!("there is no free port from {FIRST} on")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
