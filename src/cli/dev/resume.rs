//! `dev resume`.

use omnirelay_wire::rpc::dev_service;

use super::change::{self, DevNodesArgs};
use crate::frame::prelude::*;

pub(super) const RESUME: RpcMethod = dev_service::RESUME;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("dev resume", &[&RESUME]).exiting("0 1 2 3 4 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay dev resume node-2
  omnirelay dev resume node-2 node-3";

/// Let paused nodes go on, and start killed ones again
///
/// A node that runs already is left alone.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DevResumeArgs {
    #[command(flatten)]
    nodes: DevNodesArgs,
}

pub(super) async fn run(args: &DevResumeArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    change::run(&RESUME, &args.nodes, session).await
}
