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

#[cfg(test)]
mod tests {
    use crate::daemon::registry::later_version::tables_with;

    #[test]
    fn what_a_later_version_wrote_into_each_kind_is_judged_or_has_a_reason_not_to_be() {
        let kinds = super::ALL.iter().flat_map(|part| [part.kinds.mirrored, part.kinds.followed]);
        for kind in kinds.flatten() {
            assert_eq!(tables_with(kind), 1, "{kind:?} is to be in one table of `later_version`");
        }
    }
}
