//! `mesh domains approve`.

use omnirelay_wire::rpc::domain_control_service;

use super::KIND;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

const APPROVE: RpcMethod = domain_control_service::APPROVE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh domains approve", &[&APPROVE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh domains get mesh
  omnirelay mesh domains approve mesh --yes --reason \"the namespaces were removed on purpose, INC-4711\"";

/// Let pass what the brake has stopped, as the active cluster has it
///
/// A follower deletes no more than ten records, or one of a hundred, by itself, and replaces nothing of a cluster that may have lost
/// something. As many as were counted may go then. To have the active cluster get them back instead: mesh domains heal, there.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DomainsApproveArgs {
    /// The domain
    #[arg(value_name = "DOMAIN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    domain: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &DomainsApproveArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = ObjectChange {
        rpc: &APPROVE,
        name: format!("{KIND}/{}", args.domain),
        write: &args.write,
        question: Some(format!(
            "Delete and replace what is here of domain {} by what its active cluster has?",
            args.domain
        )),
        done: "approved",
        already: "it was approved already",
        became: None,
        version: None,
        fields: json!({ "domain": args.domain }),
    };
    change.run(session).await
}
