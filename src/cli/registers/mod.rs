//! `omnirelay registers`: what a node hosts.

mod advertise;
mod change;
mod columns;
mod create;
mod delete;
mod file;
mod get;
mod import;
mod labels;
mod list;
mod unadvertise;
mod update;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use super::complete;
use super::error::CliError;
use super::rpc::Leaf;
use super::session::Session;
use crate::wire::fault::Exit;

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
];

#[derive(Args, Debug)]
pub struct RegistersArgs {
    /// The node whose registers are meant [default: the one that is asked]
    #[arg(long, global = true, value_name = "NODE", add = ArgValueCompleter::new(complete::ids))]
    node: Option<String>,
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
}

/// Runs a verb of `registers`.
///
/// # Errors
/// Those of the verb.
pub async fn run(args: &RegistersArgs, session: &mut Session) -> Result<Exit, CliError> {
    let node = args.node.as_deref().unwrap_or_default();
    match &args.verb {
        Verb::List(args) => list::run(args, node, session).await,
        Verb::Get(args) => get::run(args, node, session).await,
        Verb::Create(args) => create::run(args, node, session).await,
        Verb::Update(args) => update::run(args, node, session).await,
        Verb::Delete(args) => delete::run(args, node, session).await,
        Verb::Advertise(args) => advertise::run(args, node, session).await,
        Verb::Unadvertise(args) => unadvertise::run(args, node, session).await,
        Verb::Import(args) => import::run(args, node, session).await,
    }
}

/// The service's own name of a method, for its [`Rpc`].
macro_rules! register_rpc {
    ($name:literal, $verb:ident, $path:literal, $scope:literal) => {
        $crate::cli::rpc::Rpc {
            method: concat!("omnirelay.registers.v1.RegisterService/", $name),
            verb: $crate::cli::rpc::Verb::$verb,
            path: $path,
            scope: $scope,
        }
    };
}
pub(super) use register_rpc;
