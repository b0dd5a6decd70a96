//! `drones clear-context`.

use omnirelay_wire::rpc::relay_control;

use super::STATUS;
use super::command::{AgentCommand, DronesCommandArgs};
use super::fleet::DronesRelayArgs;
use crate::agents::PLACEMENT;
use crate::complete;
use crate::frame::prelude::*;
use crate::relays::LIST as RELAYS;

pub(super) const CLEAR: RpcMethod = relay_control::CLEAR_OPERATION_CONTEXT;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("drones clear-context", &[&CLEAR, &STATUS, &RELAYS, &PLACEMENT])
        .exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay drones clear-context drone-7 --flight flight-12
  omnirelay drones clear-context drone-7 --flight flight-12 --command-id c-42
  omnirelay drones clear-context drone-7 --flight flight-12 --relay-addr 127.0.0.1:50051";

/// Tell a drone that its flight is over, and wait for its answer
///
/// Exits with 10 when the drone refuses, as it does when it is on another flight. The same command again, with
/// --command-id, is answered as it was the first time. A relay takes commands from its own machine only.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DronesClearContextArgs {
    /// The drone, an id or drone/ID, in full
    #[arg(value_name = "ID", add = complete::ids(&super::OBJECTS))]
    id: String,
    /// The flight that is over
    #[arg(long, value_name = "FLIGHT")]
    flight: String,
    #[command(flatten)]
    command: DronesCommandArgs,
    #[command(flatten)]
    relays: DronesRelayArgs,
}

pub(super) async fn run(
    args: &DronesClearContextArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let command = AgentCommand {
        rpc: &CLEAR,
        args: &args.command,
        relays: &args.relays,
        question: "Clear the context of",
        done: "has its context cleared",
        fields: json!({ "flightId": args.flight }),
    };
    command.run(session, &args.id).await
}
