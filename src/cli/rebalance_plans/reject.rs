//! `mesh rebalance-plans reject`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::tell;
use crate::complete;
use crate::frame::prelude::*;

pub(super) const REJECT: RpcMethod = rebalance_control_service::REJECT;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh rebalance-plans reject", &[&REJECT]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans reject plan_1a215015b7ad4fc0a --reason \"after the sale\"";

/// Reject a plan that has not begun
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansRejectArgs {
    /// The plan
    #[arg(value_name = "PLAN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    plan: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RebalancePlansRejectArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    tell(&REJECT, &args.plan, &args.write, "rejected", session).await
}
