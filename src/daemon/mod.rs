//! The control daemon.

pub mod store;
