//! Real servers for tests, Redis and Prometheus: each on ports and in a directory of its own, gone with its value.

mod alertmanager;
mod cluster;
pub mod guide;
pub mod net;
mod ports;
mod prometheus;
pub mod proxy;
mod sentinels;
mod server;
mod tls;
mod web_server;

pub use alertmanager::{Alertmanager, HeldAlert};
pub use cluster::Cluster;
pub use ports::free as free_port;
pub use prometheus::Prometheus;
pub use sentinels::Sentinels;
pub use server::{PATIENCE, RedisServer, eventually};
pub use tls::Authority;
