//! The control daemon.

pub mod audit;
pub mod caller;
pub mod registry;
pub mod store;
