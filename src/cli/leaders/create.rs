//! `mesh leaders create`.

use omnirelay_wire::rpc::leadership_control_service;

use super::KIND;
use super::change::of_policy;
use super::explain::EXPLAIN;
use super::policy::LeadersPolicyArgs;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

pub(super) const SET_SCOPE: RpcMethod = leadership_control_service::SET_SCOPE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh leaders create", &[&SET_SCOPE, &EXPLAIN]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders create jobs/nightly
  omnirelay mesh leaders create jobs/nightly --role worker --region eu,us --label team=billing
  omnirelay mesh leaders create jobs/nightly --prefer 10:region=eu --prefer 5:node=node-1 --dry-run
  omnirelay mesh leaders create jobs/nightly -l 'tier=std,!canary' --prefer '10:selector=disk in (ssd,nvme)'";

/// Create a scope, and say who may lead it and who should
///
/// Without flags every node may lead it. The nodes that may are those that match all of --node, --role,
/// --region, --zone and --selector; of several values of one flag any will do. Of these, one with the
/// highest priority is elected; a leader is not replaced because a better one has come.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct LeadersCreateArgs {
    /// Its name: parts of letters, digits and . _ : -, with / between them
    #[arg(value_name = "SCOPE", value_parser = super::scope)]
    scope: String,
    #[command(flatten)]
    policy: LeadersPolicyArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &LeadersCreateArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (policy, labels) = args.policy.applied_to(&json!({}))?;
    let change = ObjectChange {
        rpc: &SET_SCOPE,
        name: format!("{KIND}/{}", args.scope),
        write: &args.write,
        question: None,
        done: "created",
        already: "it is so already",
        became: None,
        // It must not exist.
        version: Some(0),
        fields: json!({ "scope": args.scope, "policy": policy, "labels": labels }),
    };
    let must_be_new = args.write.if_match.is_none_or(|version| version == 0);
    let was_there = |error: &CliError| must_be_new && error.is(reasons::VERSION_CONFLICT);
    of_policy(&change, &args.scope, "", session)
        .await
        .map_err(|error| if was_there(&error) { already_there(&args.scope, &error) } else { error })
}

/// What the conflict of a scope that must not exist means.
fn already_there(scope: &str, conflict: &CliError) -> CliError {
    let body = conflict.body();
    let message = format!("there is already a scope {}", printable(scope));
    let error = CliError::new(reasons::VERSION_CONFLICT, message)
        .hint(format!("omnirelay mesh leaders set {scope}"))
        .request_id(body.request_id.clone());
    let error = body.target.clone().into_iter().fold(error, CliError::target);
    body.details.iter().cloned().fold(error, CliError::detail)
}
