//! Clusters: two or more meshes, each in a network of its own, and the links between them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it finds"
)]

use omnirelay_support::{link, network};

mod links;
mod replication;
