//! `mesh leaders transfer`.

use omnirelay_wire::rpc::leadership_control_service;

use super::KIND;
use super::change::handover;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;
use crate::node::bare;
use crate::peers;

pub(super) const TRANSFER: RpcMethod = leadership_control_service::TRANSFER;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh leaders transfer", &[&TRANSFER]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders transfer global-control --to node-2 --dry-run
  omnirelay mesh leaders transfer global-control --to node-2 --yes --reason \"upgrade of node-1\"
  omnirelay mesh leaders transfer shard/orders/03 --to node-3 --yes --if-match 41";

/// Have the leader of a scope hand it over to another node
///
/// Ends when the other node leads, or says why it does not; --request-timeout bounds the wait. Asks
/// before it changes anything, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct LeadersTransferArgs {
    /// A scope or leader/SCOPE, in full
    #[arg(value_name = "SCOPE", value_parser = super::scope, add = complete::ids(&super::OBJECTS))]
    scope: String,
    /// The node to lead it
    #[arg(long, value_name = "NODE", required = true, add = complete::ids(&peers::OBJECTS))]
    to: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &LeadersTransferArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let to = bare(&args.to);
    let change = ObjectChange {
        rpc: &TRANSFER,
        name: format!("{KIND}/{}", args.scope),
        write: &args.write,
        question: Some(format!("Transfer {} to {to}?", args.scope)),
        done: "transferred",
        already: "that node leads it already",
        became: Some(handover),
        version: None,
        fields: json!({ "scope": args.scope, "to": to }),
    };
    change.run(session).await
}
