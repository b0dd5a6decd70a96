//! The fencing gate: what it lets through, what a crash, a bad disk or a second process does to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it finds"
)]

mod disk;
#[allow(unreachable_pub, reason = "the guide shows it as it stands in the code of others")]
mod example;
mod guide;
mod kill;
mod rules;
mod threads;
