//! `omnirelay ops`: operations, which take a daemon longer than a call.

mod cancel;
pub mod follow;
pub mod get;
pub mod list;
mod progress;
mod wait;

use clap::{Args, Subcommand};
use omnirelay_wire::fault::Exit;
use serde_json::Value;

use super::document::{number, text};
use super::error::CliError;
use super::node::NodeArgs;
use super::rpc::Leaf;
use super::session::Session;

pub use list::LIST;

/// The kind in `operation/ID`.
pub const KIND: &str = "operation";

pub static LEAVES: &[Leaf] = &[list::LEAF, get::LEAF, wait::LEAF, cancel::LEAF];

#[derive(Args, Debug)]
pub struct OpsArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::ListArgs),
    Get(get::GetArgs),
    Wait(wait::WaitVerbArgs),
    Cancel(cancel::CancelArgs),
}

/// Runs a verb of `ops`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &OpsArgs, session: &mut Session) -> Result<Exit, CliError> {
    let node = &args.node;
    match &args.verb {
        Verb::List(args) => list::run(args, node, session).await,
        Verb::Get(args) => get::run(args, node, session).await,
        Verb::Wait(args) => wait::run(args, node, session).await,
        Verb::Cancel(args) => cancel::run(args, node, session).await,
    }
}

/// `50/101`; empty while nobody knows of how many.
fn done(operation: &Value) -> String {
    match number(operation, "total") {
        0 => String::new(),
        total => format!("{}/{total}", number(operation, "done")),
    }
}

/// Whether it goes on no more, whatever else a newer daemon may call its states.
fn is_ended(operation: &Value) -> bool {
    matches!(text(operation, "state"), "succeeded" | "failed" | "partial" | "cancelled")
}
