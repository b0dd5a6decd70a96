//! `omnirelay agents`: the agents that live, and the relay that holds each.

mod columns;
mod get;
mod list;
mod placement;
mod watch;

use omnirelay_wire::rpc::aero_registry;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::schema::documents::{headed, own};
use super::schema::schemas;
use crate::frame::list::PAGE_MAX;
use crate::frame::prelude::*;

pub(crate) use placement::placement;
pub(crate) use watch::summary;

/// The kind in `agent/ID`.
pub(crate) const KIND: &str = "agent";

pub(crate) const LIST: RpcMethod = aero_registry::LIST_AGENTS;
pub(crate) const PLACEMENT: RpcMethod = aero_registry::GET_AGENT_PLACEMENT;

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "agents",
    rpc: &LIST,
    paged: true,
    of_node: false,
    known,
    signs: b"-._:",
};

fn known(agent: &Value) -> KnownObject {
    KnownObject {
        id: text(agent, "agentId").to_owned(),
        status: format!("held by {}", text(agent, "relayId")),
    }
}

verbs! {
    /// The agents that live, and which relay holds each
    #[command(alias = "agent", arg_required_else_help = true)]
    "agents" AgentsArgs {
        List: list::AgentsListArgs,
        Get: get::AgentsGetArgs,
        Placement: placement::AgentsPlacementArgs,
        Watch: watch::AgentsWatchArgs,
    }
    &[
        own("agent", "agents get", schemas::agent),
        headed("agent-placement", "agents placement", "aeroarc.registry.v1.GetAgentPlacementResponse"),
        headed("agents", "agents list", "aeroarc.registry.v1.ListAgentsResponse"),
    ]
}

/// The call for one page of the agents of `relay`, of all relays when it is empty.
fn request(relay: &str, page: &ListPage, at: &str) -> Result<Call, CliError> {
    let size = page.size_or(PAGE_MAX);
    Call::of(&LIST, &json!({ "relayId": relay, "pageSize": size, "pageToken": page.token, "at": at }))
}
