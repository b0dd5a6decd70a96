//! Reads whose answers a support bundle holds: nothing is asked that is not named here.

use omnirelay_wire::rpc::{
    audit_service, capacity_service, certificate_service, check_service, config_service,
    leadership_control_service, namespace_control_service, node_service, observability_service,
    operation_service, peer_control_service, rebalance_control_service, shard_control_service,
    support_service,
};

use crate::frame::prelude::*;
use crate::registers::SYNC_STATE;

/// A read whose answer is recorded.
pub(super) struct RecordedRead {
    pub rpc: &'static RpcMethod,
    /// What it tells.
    pub what: &'static str,
    /// Each node says it of itself; else the node that is asked says it of the mesh.
    pub everywhere: bool,
    /// Asked for each item of a list that was recorded before.
    pub per: Option<ItemSource>,
    /// What is asked in any case.
    pub with: &'static [(&'static str, u32)],
    /// Only the first page: of what is long, the newest.
    pub newest: bool,
}

/// Items for each of which something is asked.
pub(super) struct ItemSource {
    /// The path of the list.
    pub list: &'static str,
    /// Fields of the request, and of the item.
    pub fields: &'static [(&'static str, &'static str)],
    /// Only nodes that are alive; where one node is asked alone, only that.
    pub hosts: bool,
}

impl RecordedRead {
    const fn of_mesh(rpc: &'static RpcMethod, what: &'static str) -> Self {
        Self { rpc, what, everywhere: false, per: None, with: &[], newest: false }
    }

    const fn of_node(rpc: &'static RpcMethod, what: &'static str) -> Self {
        Self { everywhere: true, ..Self::of_mesh(rpc, what) }
    }

    const fn per(self, list: &'static str, fields: &'static [(&'static str, &'static str)]) -> Self {
        Self { per: Some(ItemSource { list, fields, hosts: false }), ..self }
    }

    const fn with(self, with: &'static [(&'static str, u32)]) -> Self {
        Self { with, ..self }
    }
}

const NODE_ID: &[(&str, &str)] = &[("nodeId", "nodeId")];
const SCOPE: &[(&str, &str)] = &[("scope", "scope")];
const NAMESPACE: &[(&str, &str)] = &[("namespace", "namespace")];
const SHARD: &[(&str, &str)] = &[("namespace", "namespace"), ("shardId", "shardId")];
const PEERS: &str = peer_control_service::LIST.path;
const LEADERS: &str = leadership_control_service::LIST.path;

/// All of them; a list comes before what is asked for each of its items.
pub(super) const READS: &[RecordedRead] = &[
    RecordedRead::of_node(&node_service::GET, "what the daemon says of itself"),
    RecordedRead::of_node(&peer_control_service::LIST, "the peers, as the node hears of them"),
    RecordedRead::of_node(&support_service::GET_DIAGNOSTICS, "settings, log lines and metrics of the daemon"),
    RecordedRead::of_node(&capacity_service::GET, "limits, and how much of them is used"),
    RecordedRead::of_node(&config_service::GET_CONFIG, "transport policy, join policy and endpoints"),
    RecordedRead::of_node(&peer_control_service::GET_LEASE_HEALTH, "the health of leases"),
    RecordedRead::of_node(&SYNC_STATE, "how registers are synchronised"),
    RecordedRead::of_mesh(&check_service::CHECK, "the check of the mesh"),
    RecordedRead {
        per: Some(ItemSource { list: PEERS, fields: NODE_ID, hosts: true }),
        ..RecordedRead::of_mesh(&check_service::CHECK_HOST, "the check of a host")
    },
    RecordedRead::of_mesh(&peer_control_service::GET, "a peer").per(PEERS, NODE_ID),
    RecordedRead::of_mesh(&peer_control_service::EXPLAIN, "how a peer came to be as it is")
        .per(PEERS, NODE_ID),
    RecordedRead::of_mesh(&peer_control_service::GET_DRAIN, "what a peer still holds").per(PEERS, NODE_ID),
    RecordedRead::of_mesh(&leadership_control_service::LIST, "the scopes and their leaders"),
    RecordedRead::of_mesh(&leadership_control_service::GET, "a scope").per(LEADERS, SCOPE),
    RecordedRead::of_mesh(&leadership_control_service::EXPLAIN, "why a node leads a scope")
        .per(LEADERS, SCOPE),
    RecordedRead::of_mesh(&leadership_control_service::HISTORY, "who led scopes").with(&[("limit", 1000)]),
    RecordedRead::of_mesh(&namespace_control_service::LIST, "the namespaces of shards"),
    RecordedRead::of_mesh(&namespace_control_service::GET, "a namespace")
        .per(namespace_control_service::LIST.path, NAMESPACE),
    RecordedRead::of_mesh(&shard_control_service::LIST, "the shards and their owners"),
    RecordedRead::of_mesh(&shard_control_service::EXPLAIN, "why a node owns a shard")
        .per(shard_control_service::LIST.path, SHARD),
    RecordedRead::of_mesh(&shard_control_service::HISTORY, "the versions of a map")
        .per(namespace_control_service::LIST.path, NAMESPACE)
        .with(&[("limit", 1000)]),
    RecordedRead::of_mesh(&rebalance_control_service::LIST, "the plans of moves"),
    RecordedRead::of_mesh(&operation_service::LIST, "what takes longer than a call"),
    RecordedRead::of_mesh(&observability_service::LIST_SCRAPE_TARGETS, "what Prometheus scrapes"),
    RecordedRead::of_mesh(&certificate_service::LIST, "certificates, without their keys"),
    RecordedRead { newest: true, ..RecordedRead::of_mesh(&audit_service::LIST, "the newest audit records") }
        .with(&[("pageSize", 1000)]),
];

/// The methods of all of them.
pub(super) const CALLS: &[&RpcMethod] = &{
    let (mut calls, mut at) = ([READS[0].rpc; READS.len()], 0);
    while at < READS.len() {
        calls[at] = READS[at].rpc;
        at += 1;
    }
    calls
};

#[cfg(test)]
mod tests {
    use omnirelay_wire::rpc;

    use super::*;

    #[test]
    fn the_command_says_all_that_it_asks_and_none_of_it_changes_anything() {
        let asked: Vec<&RpcMethod> = READS.iter().map(|read| read.rpc).collect();
        assert_eq!(asked, CALLS);
        assert!(CALLS.iter().all(|rpc| !rpc.mutates() && rpc.verb == rpc::HttpVerb::Get));
    }

    #[test]
    fn what_is_asked_for_each_item_comes_behind_its_list() {
        for (at, read) in READS.iter().enumerate() {
            let list = read.per.as_ref().map(|per| per.list);
            assert!(
                list.is_none_or(|list| READS[..at].iter().any(|before| before.rpc.path == list)),
                "{}",
                read.what
            );
        }
    }
}
