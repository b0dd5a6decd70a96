//! `drones set-context`.

use omnirelay_wire::rpc::relay_control;

use super::STATUS;
use super::command::{AgentCommand, DronesCommandArgs};
use super::fleet::DronesRelayArgs;
use crate::agents::PLACEMENT;
use crate::complete;
use crate::frame::prelude::*;
use crate::relays::LIST as RELAYS;

pub(super) const SET: RpcMethod = relay_control::SET_OPERATION_CONTEXT;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("drones set-context", &[&SET, &STATUS, &RELAYS, &PLACEMENT])
        .exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay drones set-context drone-7 --flight flight-12 --intent survey-9 --intent-version 1
  omnirelay drones set-context drone-7 --flight flight-12 --intent survey-9 --intent-version 2 --command-id c-41
  omnirelay drones set-context drone-7 --relay-addr 127.0.0.1:50051 --flight f --intent i --intent-version 1";

/// Tell a drone what it flies, for whom, and wait for its answer
///
/// The drone must have a stream that can carry commands. Exits with 10 when it refuses. The same command again, with
/// --command-id, is answered as it was the first time. A relay takes commands from its own machine only.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DronesSetContextArgs {
    /// The drone, an id or drone/ID, in full
    #[arg(value_name = "ID", add = complete::ids(&super::OBJECTS))]
    id: String,
    /// The flight it is on
    #[arg(long, value_name = "FLIGHT")]
    flight: String,
    /// The intent that it carries out
    #[arg(long, value_name = "INTENT")]
    intent: String,
    /// The version of the intent, from 1 on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    intent_version: u32,
    #[command(flatten)]
    command: DronesCommandArgs,
    #[command(flatten)]
    relays: DronesRelayArgs,
}

pub(super) async fn run(args: &DronesSetContextArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let command = AgentCommand {
        rpc: &SET,
        args: &args.command,
        relays: &args.relays,
        question: "Set the context of",
        done: "has its context set",
        fields: json!({ "context": {
            "flightId": args.flight, "intentId": args.intent, "intentVersion": args.intent_version,
        } }),
    };
    command.run(session, &args.id).await
}
