//! `mesh peers undrain`.

use clap::Args;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::peer_control_service;
use serde_json::json;

use super::LIST;
use super::change::{Change, meant};
use crate::cli::complete;
use crate::cli::frame::args::WriteArgs;
use crate::cli::frame::error::CliError;
use crate::cli::frame::rpc::{Leaf, Rpc};
use crate::cli::frame::session::Session;

pub const UNDRAIN: Rpc = peer_control_service::UNDRAIN;
pub const LEAF: Leaf = Leaf::write("mesh peers undrain", &[&UNDRAIN, &LIST]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers undrain node-2 --reason \"upgrade done\"
  omnirelay mesh peers undrain -l zone=eu-west-1b --dry-run";

/// Take the drain of peers back, and the cordon that came with it
///
/// What was handed over stays where it is.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct UndrainArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required_unless_present = "selector", value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// The peers with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub async fn run(args: &UndrainArgs, session: &mut Session) -> Result<Exit, CliError> {
    let ids = meant(session, &args.ids, args.selector.as_deref()).await?;
    let change = Change {
        rpc: &UNDRAIN,
        write: &args.write,
        done: "undrained",
        already: "not draining",
        failed: "could not be undrained",
        fields: json!({}),
    };
    change.run(session, ids).await
}
