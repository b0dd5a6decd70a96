//! `registers advertise`.

use super::LIST;
use super::change::RegistersChange;
use super::update::{BATCH_UPDATE, UPDATE};
use super::which::RegistersWhichArgs;
use crate::frame::prelude::*;
use crate::node::NodeArgs;

pub(super) const LEAF: LeafCommand =
    LeafCommand::write("registers advertise", &[&LIST, &UPDATE, &BATCH_UPDATE]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers advertise orders
  omnirelay registers advertise orders invoices --reason \"open to all\"
  omnirelay registers advertise -l tier=public
  omnirelay registers list --filter advertise=false -o name | omnirelay registers advertise -";

/// Advertise registers to the mesh
///
/// The node that hosts them does so from now on. Repeating it changes nothing.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersAdvertiseArgs {
    #[command(flatten)]
    which: RegistersWhichArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RegistersAdvertiseArgs,
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
        done: "marked as advertised",
        follows: "advertise it",
        already: "it is marked so already",
        failed: "could not be marked as advertised",
        forgives_missing: false,
        fields: json!({ "advertise": true }),
    };
    change.run(session, ids).await
}
