//! `omnirelay registers`: the registers that nodes host, and who advertises them.

mod advertise;
mod available;
mod change;
mod columns;
mod create;
mod delete;
mod file;
mod get;
pub mod import;
mod labels;
mod list;
mod plan;
mod resync;
mod status;
mod synced;
mod unadvertise;
mod update;
mod watch;

use clap::{Args, Subcommand};
use omnirelay_wire::fault::Exit;

use super::error::CliError;
use super::node::NodeArgs;
use super::rpc::Leaf;
use super::session::Session;

pub use list::LIST;

/// The kind in `register/ID`.
pub const KIND: &str = "register";

pub static LEAVES: &[Leaf] = &[
    list::LEAF,
    get::LEAF,
    create::LEAF,
    update::LEAF,
    delete::LEAF,
    advertise::LEAF,
    unadvertise::LEAF,
    import::LEAF,
    available::LEAF,
    watch::LEAF,
    status::LEAF,
    resync::LEAF,
];

#[derive(Args, Debug)]
pub struct RegistersArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::ListArgs),
    Get(get::GetArgs),
    Create(Box<create::CreateArgs>),
    Update(Box<update::UpdateArgs>),
    Delete(delete::DeleteArgs),
    Advertise(advertise::AdvertiseArgs),
    Unadvertise(unadvertise::UnadvertiseArgs),
    Import(import::ImportArgs),
    Available(available::AvailableArgs),
    Watch(watch::WatchVerbArgs),
    Status(status::StatusArgs),
    Resync(resync::ResyncArgs),
}

/// Runs a verb of `registers`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &RegistersArgs, session: &mut Session) -> Result<Exit, CliError> {
    let daemon = &args.node;
    let node = daemon.node.as_deref().unwrap_or_default();
    // What `-o name` prints of a peer can be given again.
    let node = node.strip_prefix("peer/").unwrap_or(node);
    match &args.verb {
        Verb::List(args) => list::run(args, node, session).await,
        Verb::Get(args) => get::run(args, node, session).await,
        Verb::Create(args) => create::run(args, node, session).await,
        Verb::Update(args) => update::run(args, node, session).await,
        Verb::Delete(args) => delete::run(args, node, session).await,
        Verb::Advertise(args) => advertise::run(args, node, session).await,
        Verb::Unadvertise(args) => unadvertise::run(args, node, session).await,
        Verb::Import(args) => import::run(args, node, session).await,
        Verb::Available(args) => available::run(args, daemon, session).await,
        Verb::Watch(args) => watch::run(args, daemon, session).await,
        Verb::Status(args) => status::run(args, daemon, session).await,
        Verb::Resync(args) => resync::run(args, daemon, session).await,
    }
}
