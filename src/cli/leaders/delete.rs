//! `mesh leaders delete`.

use omnirelay_wire::rpc::leadership_control_service;

use super::KIND;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

pub(super) const DELETE: RpcMethod = leadership_control_service::DELETE_SCOPE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh leaders delete", &[&DELETE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders delete jobs/nightly --dry-run
  omnirelay mesh leaders delete jobs/nightly --yes --reason \"moved to a queue\"";

/// Remove a scope; its leader steps down
///
/// A scope of that name that is created later goes on with its terms and fence tokens. Asks before it
/// removes anything, unless --yes.
#[derive(Args, Debug)]
#[command(visible_alias = "rm", before_long_help = EXAMPLES)]
pub(super) struct LeadersDeleteArgs {
    /// A scope or leader/SCOPE, in full
    #[arg(value_name = "SCOPE", value_parser = super::scope, add = complete::ids(&super::OBJECTS))]
    scope: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &LeadersDeleteArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = ObjectChange {
        rpc: &DELETE,
        name: format!("{KIND}/{}", args.scope),
        write: &args.write,
        question: Some(format!("Delete the scope {}?", args.scope)),
        done: "deleted",
        already: "it was gone already",
        became: None,
        version: None,
        fields: json!({ "scope": args.scope }),
    };
    change.run(session).await
}
