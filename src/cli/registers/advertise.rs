//! `registers advertise`.

use clap::Args;
use omnirelay_wire::fault::Exit;
use serde_json::json;

use super::KIND;
use super::change::Change;
use super::update::UPDATE;
use crate::cli::complete;
use crate::cli::frame::args::WriteArgs;
use crate::cli::frame::error::CliError;
use crate::cli::frame::ids;
use crate::cli::frame::rpc::Leaf;
use crate::cli::frame::session::Session;
use crate::cli::node::NodeArgs;

pub const LEAF: Leaf = Leaf::write("registers advertise", &[&UPDATE]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers advertise orders
  omnirelay registers advertise orders invoices --reason \"open to all\"
  omnirelay registers list -l tier=public -o name | omnirelay registers advertise -";

/// Advertise registers to the mesh
///
/// The node that hosts them does so from now on. Repeating it changes nothing.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct AdvertiseArgs {
    /// Ids or register/ID, in full; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub async fn run(args: &AdvertiseArgs, node: &NodeArgs, session: &mut Session) -> Result<Exit, CliError> {
    let node = node.id();
    let ids = ids::expand(&args.ids, KIND)?;
    let change = Change {
        rpc: &UPDATE,
        node,
        write: &args.write,
        done: "marked as advertised",
        follows: "advertise it",
        already: "it is marked so already",
        failed: "could not be marked as advertised",
        fields: json!({ "advertise": true }),
    };
    change.run(session, ids).await
}
