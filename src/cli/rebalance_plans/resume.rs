//! `mesh rebalance-plans resume`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::tell;
use crate::complete;
use crate::frame::prelude::*;

pub(super) const RESUME: RpcMethod = rebalance_control_service::RESUME;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh rebalance-plans resume", &[&RESUME]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans resume plan_1a215015b7ad4fc0a";

/// Have a paused plan go on
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansResumeArgs {
    /// The plan
    #[arg(value_name = "PLAN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    plan: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RebalancePlansResumeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    tell(&RESUME, &args.plan, &args.write, "resumed", session).await
}
