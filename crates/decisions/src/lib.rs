//! Decisions: no async, no clock, no I/O and no randomness of their own.
//!
//! Time, chance and what is known are arguments; what to do is the result.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod audit_names;
pub mod audit_record;
pub mod audit_seal;
pub mod capacity;
pub mod catalogue;
pub mod check;
pub mod document;
pub mod field_changes;
pub mod identity_keeper;
pub mod join_policy;
pub mod lease;
pub mod peer;
pub mod range_digest;
pub mod register;
pub mod shards;
pub mod signed_record;
pub mod strays;
pub mod transport_policy;
