//! `registers withdraw`.

use omnirelay_wire::rpc::advertisement_service;

use super::push::{change_one, plain};
use crate::complete;
use crate::frame::prelude::*;
use crate::node::{NODE, NodeArgs};
use crate::peers;

const WITHDRAW: RpcMethod =
    RpcMethod { path: "/control/registers/{register_id}/advertise", ..advertisement_service::WITHDRAW };
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("registers withdraw", &[&WITHDRAW, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay registers withdraw orders
  omnirelay registers withdraw orders --node node-2";

/// Withdraw what was pushed of a register with registers push
///
/// Repeating it changes nothing. What the node's catalogue says is changed by registers unadvertise.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersWithdrawArgs {
    /// The register
    #[arg(value_name = "REGISTER", add = complete::ids(&super::OBJECTS))]
    register: String,
}

pub(super) async fn run(
    args: &RegistersWithdrawArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let fields = json!({"registerId": plain(&args.register)});
    change_one(&WITHDRAW, fields, "withdrawn", node, session).await
}
