//! `bindings delete`.

use omnirelay_wire::rpc::binding_service;

use super::change::BindingsChange;
use crate::complete;
use crate::frame::prelude::*;

const DELETE: RpcMethod = binding_service::DELETE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("bindings delete", &[&DELETE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay bindings delete token:deploy --yes --reason \"rollout is over\"
  omnirelay bindings delete token:deploy --dry-run";

/// Take away what a principal was given; what its proof has stays
///
/// Asks before it removes anything, unless --yes.
#[derive(Args, Debug)]
#[command(visible_alias = "rm", before_long_help = EXAMPLES)]
pub(super) struct BindingsDeleteArgs {
    /// Who, as the audit trail names it
    #[arg(value_name = "PRINCIPAL", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    principal: String,
    /// Even if nobody with mesh.admin is left who can come in
    #[arg(long)]
    last_administrator: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &BindingsDeleteArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = BindingsChange {
        rpc: &DELETE,
        principal: &args.principal,
        write: &args.write,
        question: Some(format!("Delete the binding of {}?", args.principal)),
        done: "deleted",
        fields: json!({"lastAdministrator": args.last_administrator}),
    };
    change.run(session).await
}
