//! The control daemon.

pub mod args;
pub mod audit;
pub mod chance;
pub mod config;
pub mod data_dir;
pub mod fleet;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod node;
#[cfg(test)]
mod node_test;
pub mod objects;
pub mod open_files;
pub mod operations;
pub mod parts;
pub mod presence;
pub mod publish;
pub mod readiness;
pub mod registry;
pub mod relay;
pub mod resync;
pub mod run;
pub mod signals;
pub mod stores;
pub mod surface;
pub mod up;
