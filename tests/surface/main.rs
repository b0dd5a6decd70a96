//! The surface, proven on a service that only these tests have: nothing was written for it but its proto and
//! its operations.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so when it fails")]

use omnirelay_support::network;

mod abuse;
mod bidirectional;
mod contract;
mod discovery;
mod fixture;
mod generated;
mod large;
mod listener;
mod openapi;
mod origin;
mod pipeline;
mod raw;
mod refusals;
mod slashes;
mod stream;
mod tls;
mod unary;
mod unpaged;
