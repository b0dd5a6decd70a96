//! The fencing gate: what it lets through, what a crash, a bad disk or a second process does to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it finds"
)]

mod disk;
mod example;
mod guide;
mod kill;
mod rules;
mod threads;

use std::path::Path;
use std::time::{Duration, Instant};

use omnirelay_sdk::{FencingGate, GateError};

/// How long a process that a test has started may take until its program begins. What is open here is open there until
/// then, and so the lock of a gate that was dropped meanwhile is held.
const FORKED: Duration = Duration::from_secs(60);

/// Opens a gate that nobody has.
fn open(path: &Path) -> Result<FencingGate, GateError> {
    let begun = Instant::now();
    loop {
        match FencingGate::open(path) {
            Err(GateError::Locked { .. }) if begun.elapsed() < FORKED => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened,
        }
    }
}
