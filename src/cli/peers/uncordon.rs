//! `mesh peers uncordon`.

use omnirelay_wire::rpc::peer_control_service;

use super::LIST;
use super::change::{PeersChange, meant};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const UNCORDON: RpcMethod = peer_control_service::UNCORDON;
pub(super) const LEAF: LeafCommand = LeafCommand::write("mesh peers uncordon", &[&UNCORDON, &LIST]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers uncordon node-2 --reason \"disk replaced\"
  omnirelay mesh peers uncordon -l zone=eu-west-1b --dry-run";

/// Take the cordon of peers back
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersUncordonArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required_unless_present = "selector", value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// The peers with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &PeersUncordonArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = meant(session, &args.ids, args.selector.as_deref()).await?;
    let change = PeersChange {
        rpc: &UNCORDON,
        write: &args.write,
        done: "uncordoned",
        already: "not cordoned",
        failed: "could not be uncordoned",
        fields: json!({}),
    };
    change.run(session, ids).await
}
