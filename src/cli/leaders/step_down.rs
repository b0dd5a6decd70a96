//! `mesh leaders step-down`.

use omnirelay_wire::rpc::leadership_control_service;

use super::KIND;
use super::change::handover;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

pub(super) const STEP_DOWN: RpcMethod = leadership_control_service::STEP_DOWN;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh leaders step-down", &[&STEP_DOWN]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders step-down global-control --dry-run
  omnirelay mesh leaders step-down global-control --yes --reason \"INC-4711\"";

/// Have the leader of a scope give it up, and let an election decide
///
/// Ends when the leader has given it up. Asks before it changes anything, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct LeadersStepDownArgs {
    /// A scope or leader/SCOPE, in full
    #[arg(value_name = "SCOPE", value_parser = super::scope, add = complete::ids(&super::OBJECTS))]
    scope: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &LeadersStepDownArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = ObjectChange {
        rpc: &STEP_DOWN,
        name: format!("{KIND}/{}", args.scope),
        write: &args.write,
        question: Some(format!("Have the leader of {} step down?", args.scope)),
        done: "given up",
        already: "nobody leads it",
        became: Some(handover),
        version: None,
        fields: json!({ "scope": args.scope }),
    };
    change.run(session).await
}
