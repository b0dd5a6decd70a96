//! `dev pause`.

use omnirelay_wire::rpc::dev_service;

use super::change::{self, DevNodesArgs};
use crate::frame::prelude::*;

pub(super) const PAUSE: RpcMethod = dev_service::PAUSE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("dev pause", &[&PAUSE]).exiting("0 1 2 3 4 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay dev pause node-2
  omnirelay dev pause node-2 node-3";

/// Freeze nodes
///
/// A paused node keeps its sockets and does nothing
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DevPauseArgs {
    #[command(flatten)]
    nodes: DevNodesArgs,
}

pub(super) async fn run(args: &DevPauseArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    change::run(&PAUSE, &args.nodes, session).await
}
