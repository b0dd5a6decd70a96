//! `omnirelay agents`: the agents that live, and the relay that holds each.

mod columns;
mod get;
mod list;
mod placement;
mod watch;

use clap::{Args, Subcommand};
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::aero_registry;
use serde_json::json;

use super::error::CliError;
use super::rpc::{Call, Leaf, Rpc};
use super::session::Session;

pub use placement::placement;

/// The kind in `agent/ID`.
pub const KIND: &str = "agent";

pub static LEAVES: &[Leaf] = &[list::LEAF, get::LEAF, placement::LEAF, watch::LEAF];

pub const LIST: Rpc = aero_registry::LIST_AGENTS;
pub const PLACEMENT: Rpc = aero_registry::GET_AGENT_PLACEMENT;

#[derive(Args, Debug)]
pub struct AgentsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::ListArgs),
    Get(get::GetArgs),
    Placement(placement::PlacementArgs),
    Watch(watch::WatchVerbArgs),
}

/// Runs a verb of `agents`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &AgentsArgs, session: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::List(args) => list::run(args, session).await,
        Verb::Get(args) => get::run(args, session).await,
        Verb::Placement(args) => placement::run(args, session).await,
        Verb::Watch(args) => watch::run(args, session).await,
    }
}

/// The call for one page of the agents of `relay`, of all relays when it is empty.
fn request(relay: &str, size: usize, token: &str) -> Result<Call, CliError> {
    Call::of(&LIST, &json!({ "relayId": relay, "pageSize": size, "pageToken": token }))
}
