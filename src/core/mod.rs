//! Decisions: no async, no clock, no I/O and no randomness of their own.
//!
//! Time, chance and what is known are arguments; what to do is the result.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod audit_record;
pub mod audit_seal;
pub mod catalogue;
pub mod labels;
pub mod lease;
pub mod names;
pub mod peer;
pub mod placement;
pub mod register;
pub mod replicas;
pub mod scope;
pub mod selector;
pub mod strays;
pub mod text;
pub mod time;
