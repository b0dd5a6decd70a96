//! The control daemon.

pub mod audit;
pub mod chance;
pub mod config;
pub mod data_dir;
pub mod doctor;
pub mod exchange;
pub mod gossip;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod node;
#[cfg(test)]
mod node_test;
pub mod objects;
pub mod operations;
pub mod parts;
pub mod presence;
pub mod process;
pub mod publish;
pub mod readiness;
pub mod registry;
pub mod relay;
pub mod resync;
pub mod stalls;
pub mod surface;
mod transport;
pub mod wall_clock;
