//! `mesh domains set`.

use omnirelay_wire::reasons;
use omnirelay_wire::rpc::domain_control_service;

use super::KIND;
use super::get::{GET, one};
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

const SET: RpcMethod = domain_control_service::SET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh domains set", &[&SET, &GET]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh domains set mesh --active east
  omnirelay mesh domains set payments --active west --namespace billing --namespace ledger
  omnirelay mesh domains set mesh --active east --give-up --reason \"moves to east, INC-4711\"";

/// Say in which cluster a domain is active, and which namespaces it has
///
/// Say it in each cluster: in the active one first, whose others then follow it. Namespaces that are not named stay as they are. The
/// domain mesh has everything that is of no other one. A domain that is active elsewhere is not made active here by saying so.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DomainsSetArgs {
    /// The domain
    #[arg(value_name = "DOMAIN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    domain: String,
    /// The cluster where its changes are made
    #[arg(long, value_name = "CLUSTER", add = complete::ids(&crate::clusters::OBJECTS))]
    active: Option<String>,
    /// A namespace that it has (repeatable); replaces all that it had
    #[arg(long = "namespace", value_name = "NAMESPACE", add = complete::ids(&crate::namespaces::OBJECTS))]
    namespaces: Vec<String>,
    /// Let it stop to be active where it is: what the other cluster has takes the place of what is here
    #[arg(long)]
    give_up: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &DomainsSetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let known = match one(session, &args.domain).await {
        Ok(document) => field(&document, "domain").clone(),
        Err(error) if error.is(reasons::DOMAIN_NOT_FOUND) => json!({ "recordVersion": "0" }),
        Err(error) => return Err(error),
    };
    let namespaces = match &args.namespaces[..] {
        [] => json!(items(&known, "namespaces")),
        given => json!(given),
    };
    let change = ObjectChange {
        rpc: &SET,
        name: format!("{KIND}/{}", args.domain),
        write: &args.write,
        question: None,
        done: "set",
        already: "it is so already",
        became: None,
        // What was read and is written again must not have changed since.
        version: text(&known, "recordVersion").parse().ok(),
        fields: json!({
            "domain": args.domain,
            "activeCluster": args.active.as_deref().unwrap_or_else(|| text(&known, "activeCluster")),
            "namespaces": namespaces,
            "giveUp": args.give_up,
        }),
    };
    change.run(session).await
}
