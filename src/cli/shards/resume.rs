//! `mesh shards resume`.

use omnirelay_wire::rpc::shard_control_service;

use super::pause::{ShardTicketArgs, change};
use crate::frame::prelude::*;
use crate::namespaces;

const RESUME: RpcMethod = shard_control_service::RESUME;
pub(super) const LEAF: LeafCommand = LeafCommand::write("mesh shards resume", &[&RESUME, &namespaces::LIST])
    .exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards resume orders/012 --reason \"message removed\"
  omnirelay mesh shards resume 012 --if-match 7";

/// Have callers use a shard again that was paused or disabled
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsResumeArgs {
    #[command(flatten)]
    shard: ShardTicketArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &ShardsResumeArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    change(&RESUME, &args.shard, &args.write, ("resumed", "it was not paused"), json!({}), session).await
}
