//! Leadership by fenced leases: what a run of it must have kept, a checker that says whether it
//! did, and a small model of it that is searched as a whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it finds"
)]

mod broken;
mod checker;
mod generated;
mod history;
mod lab;
mod model;
mod mutants;
mod planted;
mod recorder;
mod replay;
mod simulation;
