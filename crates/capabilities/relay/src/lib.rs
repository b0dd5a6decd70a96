//! The relay: takes the telemetry of agents, acknowledges it once it is safe, and says which agents it holds.
//!
//! Sessions live in memory only, and are the truth while the process lives. Nothing here waits for the registry or
//! for the Redis that keys are published in.

pub mod aero_registry;
pub mod agents;
pub mod allow;
pub mod assembly;
pub mod batch;
pub mod commands;
pub mod control;
#[cfg(test)]
mod fake_redis;
pub mod gateway;
pub mod http;
pub mod identity;
mod lifetimes;
pub mod metrics;
mod mount;
mod proof;
pub mod publish;
pub mod published;
pub mod relays;
pub mod report;
mod room;
pub mod sessions;
pub mod sinks;
pub mod stream;
pub use mount::{KINDS, live_endpoint, mount, told_endpoint};

/// What an operator reads when a relay does not do what it should.
pub const RELAY_RUNBOOK: &str = "docs/runbooks/relay.md";
