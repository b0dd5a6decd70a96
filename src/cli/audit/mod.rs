//! `omnirelay audit`: who changed what, when and why.

mod list;

use clap::{Args, Subcommand};

use super::error::CliError;
use super::rpc::Leaf;
use super::session::Session;
use crate::wire::fault::Exit;

pub static LEAVES: &[Leaf] = &[list::LEAF];

#[derive(Args, Debug)]
pub struct AuditArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::ListArgs),
}

/// Runs a verb of `audit`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &AuditArgs, session: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::List(args) => list::run(args, session).await,
    }
}
