//! `omnirelay registers`: the registers that nodes host, and who advertises them.

mod available;
mod file;
mod plan;
mod resync;
mod status;
mod synced;
mod watch;

use clap::{Args, Subcommand};

use super::error::CliError;
use super::rpc::Leaf;
use super::session::Session;
use crate::wire::fault::Exit;

/// The kind in `register/ID`.
pub const KIND: &str = "register";

pub static LEAVES: &[Leaf] = &[available::LEAF, watch::LEAF, status::LEAF, resync::LEAF];

#[derive(Args, Debug)]
pub struct RegistersArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
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
    match &args.verb {
        Verb::Available(args) => available::run(args, session).await,
        Verb::Watch(args) => watch::run(args, session).await,
        Verb::Status(args) => status::run(args, session).await,
        Verb::Resync(args) => resync::run(args, session).await,
    }
}

/// The service's own name of a method, for its [`Rpc`](super::rpc::Rpc).
macro_rules! advertisement_rpc {
    ($name:literal, $verb:ident, $path:literal, $scope:literal) => {
        $crate::cli::rpc::Rpc {
            method: concat!("omnirelay.registers.v1.AdvertisementService/", $name),
            verb: $crate::cli::rpc::Verb::$verb,
            path: $path,
            scope: $scope,
        }
    };
}
use advertisement_rpc;
