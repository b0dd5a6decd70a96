//! `mesh namespaces delete`.

use omnirelay_wire::rpc::namespace_control_service;

use super::KIND;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

const DELETE: RpcMethod = namespace_control_service::DELETE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh namespaces delete", &[&DELETE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh namespaces delete orders --dry-run
  omnirelay mesh namespaces delete orders --yes --reason \"moved to billing\"";

/// Remove a namespace, all its shards, and what is kept of their changes
///
/// Asks before it removes anything, unless --yes. It is gone once no worker may serve it any more, which takes a second longer than a session lives.
#[derive(Args, Debug)]
#[command(visible_alias = "rm", before_long_help = EXAMPLES)]
pub(super) struct NamespacesDeleteArgs {
    /// The namespace
    #[arg(value_name = "NAMESPACE", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    namespace: String,
    /// The ticket of the change, for the audit trail
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &NamespacesDeleteArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = ObjectChange {
        rpc: &DELETE,
        name: format!("{KIND}/{}", args.namespace),
        write: &args.write,
        question: Some(format!("Delete namespace {} and all its shards?", args.namespace)),
        done: "deleted",
        already: "it is being removed already",
        became: None,
        version: None,
        fields: json!({ "namespace": args.namespace, "changeTicket": args.ticket }),
    };
    change.run(session).await
}
