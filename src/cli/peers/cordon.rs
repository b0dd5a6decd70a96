//! `mesh peers cordon`.

use omnirelay_wire::rpc::peer_control_service;

use super::LIST;
use super::change::{PeersChange, meant};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const CORDON: RpcMethod = peer_control_service::CORDON;
pub(super) const LEAF: LeafCommand = LeafCommand::write("mesh peers cordon", &[&CORDON, &LIST]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers cordon node-2 --reason \"disk errors, INC-4711\"
  omnirelay mesh peers list --filter status=suspect -o name | omnirelay mesh peers cordon -
  omnirelay mesh peers cordon -l zone=eu-west-1b --dry-run";

/// Keep new shards and leases away from peers
///
/// What a cordoned peer already has stays with it. Repeating it changes nothing.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersCordonArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required_unless_present = "selector", value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// The peers with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &PeersCordonArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = meant(session, &args.ids, args.selector.as_deref()).await?;
    let change = PeersChange {
        rpc: &CORDON,
        write: &args.write,
        done: "cordoned",
        already: "already cordoned",
        failed: "could not be cordoned",
        fields: json!({}),
    };
    change.run(session, ids).await
}
