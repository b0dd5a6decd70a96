//! `bindings set`.

use omnirelay_wire::rpc::binding_service;

use super::change::BindingsChange;
use crate::complete;
use crate::frame::prelude::*;

const SET: RpcMethod = binding_service::SET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("bindings set", &[&SET]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay bindings set token:deploy mesh.operate --reason \"rollout, INC-4711\"
  omnirelay bindings set operator:ann mesh.operate mesh.admin
  omnirelay bindings set token:deploy mesh.read mesh.operate --dry-run";

/// Say which scopes a principal has besides those of its proof
///
/// Every daemon of the mesh judges by it as soon as it hears of it. Scopes that it was given before are replaced.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct BindingsSetArgs {
    /// Who, as the audit trail names it: token:NAME, operator:NAME, service:NAME, oidc:NAME or role:NAME; of another
    /// cluster operator:CLUSTER/NAME or service:CLUSTER/NAME
    #[arg(value_name = "PRINCIPAL", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    principal: String,
    /// Such as mesh.read, mesh.operate and mesh.admin
    #[arg(required = true, value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Even if nobody with mesh.admin is left who can come in
    #[arg(long)]
    last_administrator: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &BindingsSetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = BindingsChange {
        rpc: &SET,
        principal: &args.principal,
        write: &args.write,
        question: None,
        done: "set",
        fields: json!({ "scopes": args.scopes, "lastAdministrator": args.last_administrator }),
    };
    change.run(session).await
}
