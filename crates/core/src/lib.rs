//! Decisions: no async, no clock, no I/O and no randomness of their own.
//!
//! Time, chance and what is known are arguments; what to do is the result.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod backoff;
pub(crate) mod foreign_errors;
pub mod join;
pub mod labels;
pub mod names;
pub mod placement;
pub mod ranges;
pub mod reach;
pub mod rebalance;
pub mod replicas;
pub mod scope;
pub mod secret_file;
pub mod secrets;
pub mod selector;
pub mod shard_order;
pub mod shard_sum;
pub mod spiffe;
pub mod spiffe_pattern;
pub mod split_mix;
pub mod text;
pub mod time;
pub mod trace_context;
