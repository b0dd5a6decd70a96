//! The parts that a node is made of: each puts one capability into it.

mod audit;
mod bindings;
mod certificates;
mod dev;
mod events;
mod exchange;
mod gossip;
pub mod leaders;
mod node;
mod operations;
pub mod peers;
mod registers;
mod relay;
pub mod shards;
mod store;
mod transport;
mod transport_policy;

use crate::daemon::node::Part;

/// All parts, in the order in which their kinds are brought back after an outage.
pub const ALL: &[Part] = &[
    gossip::PART,
    exchange::PART,
    peers::PART,
    transport::PART,
    leaders::PART,
    shards::PART,
    registers::PART,
    relay::PART,
    bindings::PART,
    certificates::PART,
    transport_policy::PART,
    audit::PART,
    operations::PART,
    events::PART,
    node::PART,
    store::PART,
    dev::PART,
];
