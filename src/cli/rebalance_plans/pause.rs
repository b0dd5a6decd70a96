//! `mesh rebalance-plans pause`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::tell;
use crate::complete;
use crate::frame::prelude::*;

pub(super) const PAUSE: RpcMethod = rebalance_control_service::PAUSE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh rebalance-plans pause", &[&PAUSE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans pause plan_1a215015b7ad4fc0a --reason \"latency rises\"";

/// Have a plan begin no further moves; those that have begun are finished
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansPauseArgs {
    /// The plan
    #[arg(value_name = "PLAN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    plan: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RebalancePlansPauseArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    tell(&PAUSE, &args.plan, &args.write, "paused", session).await
}
