//! `ops get`.

use omnirelay_wire::rpc::operation_service;

use super::list::took;
use super::{KIND, done};
use crate::complete;
use crate::frame::prelude::*;
use crate::node::NODE;
use crate::node::NodeArgs;
use crate::peers;

pub(crate) const GET: RpcMethod = operation_service::GET;
pub(crate) const LEAF: LeafCommand =
    LeafCommand::read("ops get", &[&GET, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay ops get op_01JD8Z4Q6W0000000000000000
  omnirelay ops get op_01JD8Z4Q6W0000000000000000 --node node-2 -o yaml
  omnirelay ops list -o name | omnirelay ops get - -o json";

/// Show everything known of one or more operations
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(crate) struct OpsGetArgs {
    /// Ids or operation/ID; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(crate) async fn run(
    args: &OpsGetArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    node.go(session).await?;
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for id in ids {
        let result = one(session, &id).await;
        batch.push(id, result);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The answer for one operation.
pub(crate) async fn one(session: &CommandSession, id: &str) -> Result<Value, CliError> {
    session.call(&Call::of(&GET, &json!({ "operationId": id }))?).await
}

/// Everything of an operation, one line per field, and below it what could not be done.
pub(crate) fn describe(document: &Value, absolute: bool) -> String {
    let operation = field(document, "operation");
    let moment = time::moment(document, absolute);
    let ago = |path: &str| time::back(time::ago(field(operation, path), moment), moment);
    let word = |name: &str| text(operation, name).to_owned();
    let state = match flag(operation, "cancelRequested") && !super::is_ended(operation) {
        true => format!("{}, asked to stop", text(operation, "state")),
        false => word("state"),
    };
    let mut rows = vec![
        ("id", word("operationId")),
        ("node", word("nodeId")),
        ("action", word("action")),
        ("state", state),
        ("done", done(operation)),
        ("counts", pairs(operation, "counts")),
        ("message", word("message")),
        ("by", word("requestedBy")),
        ("reason", word("reason")),
        ("started", ago("startedAt")),
        ("finished", ago("finishedAt")),
        ("took", took(operation)),
    ];
    rows.retain(|(name, value)| !value.is_empty() || !matches!(*name, "finished" | "took" | "reason"));
    format!("{}{}", listing(&rows), failures(operation))
}

/// Failures of an operation: what it could not do, a line each; empty when there is nothing.
pub(crate) fn failures(operation: &Value) -> String {
    let failures = items(operation, "failures");
    if failures.is_empty() {
        return String::new();
    }
    let width = |name: &str| failures.iter().map(|one| text(one, name).chars().count()).max().unwrap_or(0);
    let (objects, reasons) = (width("object"), width("reason"));
    let line = |one: &Value| {
        let (object, reason, message) = (text(one, "object"), text(one, "reason"), text(one, "message"));
        format!("  {}\n", printable(&format!("{object:objects$}  {reason:reasons$}  {message}")))
    };
    format!("FAILED\n{}", failures.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_aligned_and_cannot_drive_a_terminal() {
        let failure =
            |object: &str, reason: &str| json!({"object": object, "reason": reason, "message": "no\u{1b}"});
        let operation = json!({"failures": [failure("a", "STORE_FULL"), failure("reg-2", "X")]});
        assert_eq!(
            failures(&operation),
            "FAILED\n  a      STORE_FULL  no\\u{1b}\n  reg-2  X           no\\u{1b}\n"
        );
        assert_eq!(failures(&json!({"failures": []})), "");
    }
}
