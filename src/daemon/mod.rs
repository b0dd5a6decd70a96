//! The control daemon.

pub mod audit;
pub mod caller;
pub mod config;
pub mod data_dir;
pub mod objects;
pub mod readiness;
pub mod registry;
pub mod store;
pub mod surface;
