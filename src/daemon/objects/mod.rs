//! The objects: what can be asked of each, one module per noun.
//!
//! An operation loads, decides and commits. It publishes nothing: the commit is the event.

pub mod advertisements;
pub mod aero_registry;
pub mod agents;
pub mod bindings;
pub mod certificates;
pub mod check;
pub mod dev;
pub mod events;
pub mod leaders;
pub mod membership;
pub mod mesh_transport;
pub mod node;
pub mod operations;
pub mod peers;
pub mod registers;
pub mod relays;
pub mod restoration;
pub mod shards;
pub mod snapshots;
pub mod store;
pub mod transport_policy;
