//! `mesh shards disable`.

use omnirelay_wire::rpc::shard_control_service;

use super::pause::{ShardTicketArgs, change};
use crate::frame::prelude::*;
use crate::namespaces;

const PAUSE: RpcMethod = shard_control_service::PAUSE;
pub(super) const LEAF: LeafCommand = LeafCommand::write("mesh shards disable", &[&PAUSE, &namespaces::LIST])
    .exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards disable orders/012 --reason \"no customers of it are left\"
  omnirelay mesh shards disable 012 --dry-run";

/// Have a shard not be used at all
///
/// It is paused, stays with its owner, and whoever drains that node does not wait for it. `mesh shards resume` takes it back.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsDisableArgs {
    #[command(flatten)]
    shard: ShardTicketArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &ShardsDisableArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (words, more) = (("disabled", "it is disabled already"), json!({ "disable": true }));
    change(&PAUSE, &args.shard, &args.write, words, more, session).await
}
