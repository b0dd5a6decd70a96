//! `registers unadvertise`.

use super::LIST;
use super::change::RegistersChange;
use super::update::{BATCH_UPDATE, UPDATE};
use super::which::RegistersWhichArgs;
use crate::frame::prelude::*;
use crate::node::NodeArgs;

pub(super) const LEAF: LeafCommand =
    LeafCommand::write("registers unadvertise", &[&LIST, &UPDATE, &BATCH_UPDATE]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers unadvertise orders
  omnirelay registers unadvertise orders invoices --dry-run
  omnirelay registers unadvertise -l tier=internal";

/// Hide registers from the mesh
///
/// They stay in the catalogue of the node. Repeating it changes nothing.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersUnadvertiseArgs {
    #[command(flatten)]
    which: RegistersWhichArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RegistersUnadvertiseArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let node = node.id();
    let ids = args.which.ids(node, &args.write, session).await?;
    let change = RegistersChange {
        rpc: &UPDATE,
        batch: Some(&BATCH_UPDATE),
        node,
        write: &args.write,
        done: "hidden",
        follows: "withdraw it",
        already: "it is hidden already",
        failed: "could not be hidden",
        forgives_missing: false,
        fields: json!({ "advertise": false }),
    };
    change.run(session, ids).await
}
