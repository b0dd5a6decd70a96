//! `registers unadvertise`.

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

pub const LEAF: Leaf = Leaf::write("registers unadvertise", &[&UPDATE]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers unadvertise orders
  omnirelay registers unadvertise orders invoices --dry-run
  omnirelay registers list -l tier=internal -o name | omnirelay registers unadvertise -";

/// Hide registers from the mesh
///
/// They stay in the catalogue of the node. Repeating it changes nothing.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct UnadvertiseArgs {
    /// Ids or register/ID, in full; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub async fn run(args: &UnadvertiseArgs, node: &NodeArgs, session: &mut Session) -> Result<Exit, CliError> {
    let node = node.id();
    let ids = ids::expand(&args.ids, KIND)?;
    let change = Change {
        rpc: &UPDATE,
        node,
        write: &args.write,
        done: "hidden",
        follows: "withdraw it",
        already: "it is hidden already",
        failed: "could not be hidden",
        fields: json!({ "advertise": false }),
    };
    change.run(session, ids).await
}
