//! The control daemon.

pub mod store;
pub mod up;
