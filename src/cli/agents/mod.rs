//! `omnirelay agents`: the agents that live, and the relay that holds each.

mod columns;
mod get;
mod list;
mod placement;
mod watch;

use omnirelay_wire::rpc::aero_registry;
use serde_json::json;

use super::error::CliError;
use super::rpc::{Call, Rpc};
use super::verbs::verbs;

pub use placement::placement;

/// The kind in `agent/ID`.
pub const KIND: &str = "agent";

pub const LIST: Rpc = aero_registry::LIST_AGENTS;
pub const PLACEMENT: Rpc = aero_registry::GET_AGENT_PLACEMENT;

verbs! {
    AgentsArgs {
        List: list::ListArgs,
        Get: get::GetArgs,
        Placement: placement::PlacementArgs,
        Watch: watch::WatchVerbArgs,
    }
}

/// The call for one page of the agents of `relay`, of all relays when it is empty.
fn request(relay: &str, size: usize, token: &str) -> Result<Call, CliError> {
    Call::of(&LIST, &json!({ "relayId": relay, "pageSize": size, "pageToken": token }))
}
