//! The control daemon.

pub mod audit;
pub mod compose;
pub mod exchange;
pub mod gossip;
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
pub mod relay;
pub mod resync;
mod transport;
