//! `omnirelay mesh peers`: the nodes of a mesh.

mod change;
mod columns;
mod cordon;
mod drain;
mod forget;
pub mod get;
mod label;
mod list;
mod resolve;
mod status;
mod uncordon;
mod undrain;
mod watch;

use clap::{Args, Subcommand};
use omnirelay_wire::fault::Exit;

use super::error::CliError;
use super::rpc::Leaf;
use super::session::Session;

pub use list::LIST;

/// The kind in `peer/ID`.
pub const KIND: &str = "peer";

pub static LEAVES: &[Leaf] = &[
    list::LEAF,
    get::LEAF,
    status::LEAF,
    watch::LEAF,
    cordon::LEAF,
    uncordon::LEAF,
    drain::LEAF,
    undrain::LEAF,
    label::LEAF,
    forget::LEAF,
];

#[derive(Args, Debug)]
pub struct PeersArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::ListArgs),
    Get(get::GetArgs),
    Status(status::StatusArgs),
    Watch(watch::WatchVerbArgs),
    Cordon(cordon::CordonArgs),
    Uncordon(uncordon::UncordonArgs),
    Drain(drain::DrainArgs),
    Undrain(undrain::UndrainArgs),
    Label(label::LabelArgs),
    Forget(forget::ForgetArgs),
}

/// Runs a verb of `mesh peers`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &PeersArgs, session: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::List(args) => list::run(args, session).await,
        Verb::Get(args) => get::run(args, session).await,
        Verb::Status(args) => status::run(args, session).await,
        Verb::Watch(args) => watch::run(args, session).await,
        Verb::Cordon(args) => cordon::run(args, session).await,
        Verb::Uncordon(args) => uncordon::run(args, session).await,
        Verb::Drain(args) => drain::run(args, session).await,
        Verb::Undrain(args) => undrain::run(args, session).await,
        Verb::Label(args) => label::run(args, session).await,
        Verb::Forget(args) => forget::run(args, session).await,
    }
}
