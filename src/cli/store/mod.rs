//! `omnirelay mesh store`: the store of the mesh.

mod switch;

use clap::{Args, Subcommand};
use omnirelay_wire::fault::Exit;

use super::error::CliError;
use super::rpc::Leaf;
use super::session::Session;

pub static LEAVES: &[Leaf] = &[switch::LEAF];

#[derive(Args, Debug)]
pub struct StoreArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Switch(switch::SwitchArgs),
}

/// Runs a verb of `mesh store`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &StoreArgs, session: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::Switch(args) => switch::run(args, session).await,
    }
}
