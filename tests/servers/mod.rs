//! Real Redis servers for tests: each on ports and in a directory of its own, gone with its value.
//!
//! Test binaries take this folder in with `#[path = "../servers/mod.rs"] mod servers;`.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

mod cluster;
pub mod guide;
pub mod net;
mod ports;
pub mod proxy;
mod sentinels;
mod server;
mod tls;

pub use cluster::Cluster;
pub use ports::free as free_port;
pub use sentinels::Sentinels;
pub use server::{PATIENCE, RedisServer, eventually};
pub use tls::Authority;
