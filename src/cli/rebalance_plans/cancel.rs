//! `mesh rebalance-plans cancel`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::tell;
use crate::complete;
use crate::frame::prelude::*;

pub(super) const CANCEL: RpcMethod = rebalance_control_service::CANCEL;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh rebalance-plans cancel", &[&CANCEL]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans cancel plan_1a215015b7ad4fc0a --reason \"node-3 stays after all\"";

/// End a plan; what was moved stays moved
///
/// Shards whose owner has not stopped yet stay where they are.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansCancelArgs {
    /// The plan
    #[arg(value_name = "PLAN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    plan: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RebalancePlansCancelArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    tell(&CANCEL, &args.plan, &args.write, "cancelled", session).await
}
