//! Kit of a service: typed client, caches and gates.

pub mod gate;
#[cfg(feature = "client")]
pub mod shards;

pub use gate::{Admitted, FencingGate, GateError, Refused};
