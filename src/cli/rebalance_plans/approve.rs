//! `mesh rebalance-plans approve`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::tell;
use crate::complete;
use crate::frame::prelude::*;

pub(crate) const APPROVE: RpcMethod = rebalance_control_service::APPROVE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh rebalance-plans approve", &[&APPROVE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans approve plan_1a215015b7ad4fc0a --reason \"looked at it with ops\"
  omnirelay mesh rebalance-plans approve plan_1a215015b7ad4fc0a --if-match 1";

/// Approve a plan
///
/// Who proposed it may not, unless the policy of its namespace or the configuration of the daemon allows that.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansApproveArgs {
    /// The plan
    #[arg(value_name = "PLAN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    plan: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RebalancePlansApproveArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    tell(&APPROVE, &args.plan, &args.write, "approved", session).await
}
