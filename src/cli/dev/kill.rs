//! `dev kill`.

use omnirelay_wire::rpc::dev_service;

use super::change::{self, DevNodesArgs};
use crate::frame::prelude::*;

pub(super) const KILL: RpcMethod = dev_service::KILL;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("dev kill", &[&KILL]).exiting("0 1 2 3 4 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay dev kill node-3
  omnirelay dev kill node-2 node-3";

/// End nodes as a crash would
///
/// Tasks and sockets are dropped and nothing is released
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DevKillArgs {
    #[command(flatten)]
    nodes: DevNodesArgs,
}

pub(super) async fn run(args: &DevKillArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    change::run(&KILL, &args.nodes, session).await
}
