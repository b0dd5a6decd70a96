//! `mesh namespaces get`.

use omnirelay_wire::rpc::namespace_control_service;

use super::KIND;
use super::list::state;
use crate::complete;
use crate::frame::prelude::*;

pub(super) const GET: RpcMethod = namespace_control_service::GET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh namespaces get", &[&GET]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh namespaces get orders
  omnirelay mesh namespaces get orders -o json | jq -r .detail.mapVersion
  omnirelay mesh namespaces get orders -o json | jq .detail.spec > orders.json";

/// Show everything known of one or more namespaces
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct NamespacesGetArgs {
    /// Namespaces
    #[arg(required = true, value_name = "NAMESPACE", value_parser = id_of(super::KIND),
          add = complete::ids(&super::OBJECTS))]
    namespaces: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &NamespacesGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for namespace in &args.namespaces {
        let result = one(session, namespace).await;
        batch.push(namespace.clone(), result);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The answer for one namespace.
pub(super) async fn one(session: &CommandSession, namespace: &str) -> Result<Value, CliError> {
    let document = session.call(&Call::of(&GET, &json!({ "namespace": namespace }))?).await?;
    session.warn_if_stale(&document);
    Ok(document)
}

/// Text of what somebody else has to ask for as well; empty: nothing.
pub(super) fn pending(namespace: &Value) -> String {
    match text(namespace, "pending.proposedBy") {
        "" => String::new(),
        proposer => {
            let said = |path: &str, between: &str| {
                let said: Vec<&str> = items(namespace, path).iter().filter_map(Value::as_str).collect();
                said.join(between)
            };
            // Why it waits comes before what there may be many of.
            let (lowers, changes) = (said("pending.lowers", ", "), said("pending.changes", "; "));
            format!("asked for by {proposer}, lowers {lowers}: {changes}")
        }
    }
}

/// Everything of a namespace, one line per field.
fn describe(document: &Value, absolute: bool) -> String {
    let namespace = field(document, "detail");
    let moment = time::moment(document, absolute);
    let ago = |path: &str| time::back(time::ago(field(namespace, path), moment), moment);
    let said = |path: &str| text(namespace, path).to_owned();
    let count =
        |path: &str| Some(plain(field(namespace, path))).filter(|count| count != "0").unwrap_or_default();
    let imbalance = field(namespace, "imbalance").as_f64().map(|ratio| format!("{ratio:.3}"));
    let policy = field(namespace, "spec.policy");
    let policy = policy.as_object().map(|said| {
        let is_said = |(name, value): &(&String, &Value)| {
            !value.is_null() && value.as_str() != Some("unspecified") && *name != "holders"
        };
        let said = said.iter().filter(is_said);
        said.map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(",")
    });
    let holders: Vec<String> = items(namespace, "spec.policy.holders").iter().map(plain).collect();
    listing(&[
        ("namespace", said("namespace")),
        ("shards", plain(field(namespace, "shards"))),
        ("state", state(namespace)),
        ("reason", said("stateReason")),
        ("since", ago("stateSince")),
        ("strategy", said("spec.strategyId")),
        ("weights", pairs(namespace, "spec.weights")),
        ("capacities", pairs(namespace, "spec.capacities")),
        ("holders", if holders.is_empty() { "any".to_owned() } else { holders.join(",") }),
        ("policy", policy.unwrap_or_default()),
        ("imbalance", imbalance.unwrap_or_default()),
        ("moving", count("moving")),
        ("unowned", count("unowned")),
        ("orphaned", count("orphaned")),
        ("paused", count("paused")),
        ("overloaded", count("overloaded")),
        ("map", said("mapVersion")),
        ("checksum", said("checksum")),
        ("plan", said("planId")),
        ("pending", pending(namespace)),
        ("until", ago("pending.expiresAt")),
        ("version", said("version")),
        ("writer", said("lastWriterId")),
        ("created", ago("createdAt")),
        ("updated", ago("updatedAt")),
    ])
}
