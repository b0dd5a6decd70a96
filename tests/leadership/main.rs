//! Leadership by fenced leases: what a run of it must have kept, a checker that says whether it
//! did, and runs of daemons, simulated and real. A small model of it is searched as a whole in `tests/model`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it finds"
)]

use omnirelay_support::{process, servers};

mod broken;
mod chance;
mod checker;
mod generated;
mod history;
mod lab;
mod mutants;
mod planted;
mod processes;
mod recorder;
mod replay;
mod simulation;
