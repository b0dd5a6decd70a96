//! What a service links: typed client, caches and gates.

pub mod gate;

pub use gate::{Admitted, FencingGate, GateError, Refused};
