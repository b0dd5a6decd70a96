//! `omnirelay drones`: the sessions that relays hold in their memory.

mod clear_context;
mod columns;
mod command;
mod find;
mod fleet;
mod list;
mod set_context;
mod status;
mod watch;

use clap::{Args, Subcommand};
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::relay_control;

use super::error::CliError;
use super::rpc::{Leaf, Rpc};
use super::session::Session;

/// The kind in `drone/ID`.
pub const KIND: &str = "drone";

pub static LEAVES: &[Leaf] = &[list::LEAF, status::LEAF, watch::LEAF, set_context::LEAF, clear_context::LEAF];

pub const LIST: Rpc = relay_control::LIST_ACTIVE_DRONES;
pub const STATUS: Rpc = relay_control::GET_DRONE_STATUS;

#[derive(Args, Debug)]
pub struct DronesArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::ListArgs),
    Status(status::StatusArgs),
    Watch(watch::WatchVerbArgs),
    SetContext(set_context::SetContextArgs),
    ClearContext(clear_context::ClearContextArgs),
}

/// Runs a verb of `drones`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &DronesArgs, session: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::List(args) => list::run(args, session).await,
        Verb::Status(args) => status::run(args, session).await,
        Verb::Watch(args) => watch::run(args, session).await,
        Verb::SetContext(args) => set_context::run(args, session).await,
        Verb::ClearContext(args) => clear_context::run(args, session).await,
    }
}
