//! Metrics that a node keeps of its relay, and of the registry of relays and agents.

pub mod aero;
pub mod publish;
pub mod relay;
pub mod reports;
pub mod sinks;
