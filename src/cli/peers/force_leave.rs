//! `mesh peers force-leave`.

use omnirelay_wire::rpc::peer_control_service;

use super::change::PeersChange;
use super::{KIND, LIST};
use crate::complete;
use crate::frame::prelude::*;

const FORCE_LEAVE: RpcMethod = peer_control_service::FORCE_LEAVE;
pub(super) const LEAF: LeafCommand = LeafCommand::write("mesh peers force-leave", &[&FORCE_LEAVE, &LIST]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers force-leave node-3 --reason \"host is gone, INC-4711\"
  omnirelay mesh peers list --filter status=suspect -o name | omnirelay mesh peers force-leave -";

/// Say of silent peers that they have left
///
/// They count as left instead of suspect or dead, and are forgotten `peers.forgetAfter` from now on; until then their
/// cordon and labels stay. A peer that is alive is refused; one that comes back is alive again.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersForceLeaveArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &PeersForceLeaveArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = PeersChange {
        rpc: &FORCE_LEAVE,
        write: &args.write,
        done: "forced to leave",
        already: "it has left already",
        failed: "could not be forced to leave",
        fields: json!({}),
    };
    change.run(session, ids::expand(&args.ids, KIND)?).await
}
