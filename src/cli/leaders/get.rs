//! `mesh leaders get`.

use omnirelay_wire::rpc::leadership_control_service;

use super::columns::{leader, lease, ms};
use super::{KIND, policy};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const GET: RpcMethod = leadership_control_service::GET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh leaders get", &[&GET]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders get global-control
  omnirelay mesh leaders get shard/orders/03 shard/orders/04 -o yaml
  omnirelay mesh leaders get global-control -o json | jq -r .leadership.version";

/// Show everything known of one or more scopes
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct LeadersGetArgs {
    /// Scopes or leader/SCOPE, in full
    #[arg(required = true, value_name = "SCOPE", value_parser = super::scope,
          add = complete::ids(&super::OBJECTS))]
    scopes: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &LeadersGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for scope in &args.scopes {
        let result = one(session, scope).await;
        batch.push(scope.clone(), result);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The answer for one scope.
pub(super) async fn one(session: &CommandSession, scope: &str) -> Result<Value, CliError> {
    let document = session.call(&Call::of(&GET, &json!({ "scope": scope }))?).await?;
    session.warn_if_stale(&document);
    Ok(document)
}

/// Everything of a scope, one line per field.
fn describe(document: &Value, absolute: bool) -> String {
    let scope = field(document, "leadership");
    let moment = time::moment(document, absolute);
    let ago = |path: &str| time::back(time::ago(field(scope, path), moment), moment);
    let said = |path: &str| text(scope, path).to_owned();
    let is_led = !text(scope, "leaderId").is_empty();
    let mut rows = vec![("scope", said("scope")), ("kind", said("scopeKind")), ("leader", leader(scope))];
    match is_led {
        true => rows.extend([
            ("elected", ago("electedAt")),
            ("because", said("reason")),
            ("lease", lease(scope, moment)),
            ("renewed", ago("renewedAt")),
        ]),
        false => rows.extend([("vacant", ago("vacantSince"))]),
    }
    rows.extend([
        ("term", said("term")),
        ("fence", said("fenceToken")),
        ("previous", said("previousLeaderId")),
        ("leaderless", ms(field(scope, "leaderlessMs")).map(time::span).unwrap_or_default()),
        ("elections", format!("{} in the last hour", plain(field(scope, "electionsLastHour")))),
        ("order", order(scope, &ago)),
        ("eligible", policy::eligible(scope)),
    ]);
    rows.extend(policy::preferences(scope).into_iter().map(|line| ("prefer", line)));
    rows.extend([
        ("labels", pairs(scope, "labels")),
        ("version", said("version")),
        ("writer", said("lastWriterId")),
        ("correlation", said("correlationId")),
        ("updated", ago("updatedAt")),
    ]);
    listing(&rows)
}

/// `transfer to node-2, ordered by local 3s ago: upgrade`; empty when nothing is.
fn order(scope: &Value, ago: &impl Fn(&str) -> String) -> String {
    let verb = match text(scope, "order.verb") {
        "" | "unspecified" => return String::new(),
        verb => verb.replace('_', " "),
    };
    let to = Some(text(scope, "order.to")).filter(|to| !to.is_empty());
    let to = to.map(|to| format!(" to {to}")).unwrap_or_default();
    let reason = Some(text(scope, "order.reason")).filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{verb}{to}, ordered by {} {}{reason}", text(scope, "order.orderedBy"), ago("order.orderedAt"))
}
