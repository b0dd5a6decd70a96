//! The parts that a node is made of: each puts one capability into it.

pub mod audit;
pub mod bindings;
pub mod certificates;
pub mod check;
pub mod dev;
pub mod events;
pub mod exchange;
pub mod gossip;
pub mod leaders;
pub mod node;
pub mod operations;
pub mod peers;
pub mod registers;
pub mod relay;
pub mod shards;
pub mod snapshots;
pub mod store;
pub mod transport;
pub mod transport_policy;
