//! `omnirelay dev`: faults on demand for the nodes of `omnirelay up`.

mod change;
mod kill;
mod list;
mod pause;
mod resume;

use clap::{Args, Subcommand};
use omnirelay_wire::fault::Exit;

use super::error::CliError;
use super::rpc::Leaf;
use super::session::Session;

pub static LEAVES: &[Leaf] = &[list::LEAF, kill::LEAF, pause::LEAF, resume::LEAF];

#[derive(Args, Debug)]
pub struct DevArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::ListArgs),
    Kill(kill::KillArgs),
    Pause(pause::PauseArgs),
    Resume(resume::ResumeArgs),
}

/// Runs a verb of `dev`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &DevArgs, session: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::List(args) => list::run(args, session).await,
        Verb::Kill(args) => kill::run(args, session).await,
        Verb::Pause(args) => pause::run(args, session).await,
        Verb::Resume(args) => resume::run(args, session).await,
    }
}
