//! The surface, proven on a service that only these tests have: nothing was written for it but its proto and
//! its operations.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so when it fails")]

mod discovery;
mod fixture;
mod listener;
mod pb;
mod pipeline;
mod refusals;
mod stream;
mod unary;
