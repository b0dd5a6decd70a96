//! `ops wait`.

use super::follow::{OperationFollower, WATCH, verdict};
use super::get::{GET, failures, one};
use super::list::took;
use super::{KIND, done};
use crate::complete;
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;
use crate::node::NODE;
use crate::node::NodeArgs;
use crate::peers;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("ops wait", &[&GET, &WATCH, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 4 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay ops wait op_01JD8Z4Q6W0000000000000000
  omnirelay ops wait op_01JD8Z4Q6W0000000000000000 --node node-2 --timeout 30s
  omnirelay ops list --state running -o name | omnirelay ops wait -";

/// Wait until operations have ended
///
/// Exits with 0 when it succeeded, 7 when a part of it was not done, 1 when it failed, 4 when somebody cancelled
/// it, 8 when it goes on after --timeout. Interrupting this does not stop the operation: ops cancel does.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct OpsWaitArgs {
    /// Ids or operation/ID; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// End with 8 when one of them goes on after this time; 0s is for ever
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = "Wait options")]
    timeout: HumanDuration,
}

pub(super) async fn run(
    args: &OpsWaitArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    let names_node = node.is_needed_again(session)?;
    node.go(session).await?;
    let deadline = OperationFollower::deadline(args.timeout.0);
    let (mut documents, mut batch) = (Vec::new(), BatchOutcomes::new(KIND, "response", "did not succeed"));
    for id in ids {
        let mut document = match one(session, &id).await {
            Ok(document) => document,
            Err(error) => {
                batch.push(id, Err(error));
                continue;
            }
        };
        // Another daemon would know nothing of the next one.
        session.stay()?;
        let mut follow = OperationFollower::of(session, field(&document, "operation").clone(), names_node);
        let ended = follow.until_ended(session, args.timeout.0, deadline).await;
        document["operation"] = follow.operation().clone();
        let outcome = match ended {
            Ok(true) => verdict(follow.operation()).map_or(Ok(Value::Null), Err),
            Ok(false) => return Ok(Exit::Interrupted),
            Err(error) => Err(error),
        };
        batch.push(id, outcome);
        documents.push(document);
    }
    show(session, documents)?;
    finish(session, batch)
}

/// Shows how those that there are have ended, or how they are.
fn show(session: &mut CommandSession, mut documents: Vec<Value>) -> Result<(), CliError> {
    if documents.is_empty() {
        return Ok(());
    }
    let names =
        documents.iter().map(|one| format!("{KIND}/{}", text(one, "operation.operationId"))).collect();
    let lines = documents.iter().map(|one| described(field(one, "operation"))).collect();
    let view = if documents.len() == 1 {
        CommandOutput { document: documents.remove(0), items: None, names, text: TextForm::Lines(lines) }
    } else {
        let operations: Vec<Value> = documents.iter_mut().map(|one| one["operation"].take()).collect();
        let document = json!({"schemaVersion": "v1", "operations": operations});
        CommandOutput { document, items: Some(operations), names, text: TextForm::Lines(lines) }
    };
    session.show(&view)
}

/// `operation/op_1 succeeded: 101/101 in 7.9s, 3 added`, and below it what was not done.
fn described(operation: &Value) -> String {
    let name = format!("{KIND}/{} {}", text(operation, "operationId"), text(operation, "state"));
    let took = Some(took(operation)).filter(|took| !took.is_empty()).map(|took| format!("in {took}"));
    let steps = [done(operation), took.unwrap_or_default()];
    let steps: Vec<&str> = steps.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let parts = [steps.join(" "), text(operation, "message").to_owned()];
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let said = if parts.is_empty() { name } else { format!("{name}: {}", parts.join(", ")) };
    format!("{}\n{}", printable(&said), failures(operation))
}

/// The failure of the only one, or what several come to.
fn finish(session: &CommandSession, batch: BatchOutcomes) -> Result<Exit, CliError> {
    let outcomes = batch.into_outcomes();
    let several = outcomes.len() > 1;
    let mut batch = BatchOutcomes::new(KIND, "response", "did not succeed");
    for (id, outcome) in outcomes {
        match outcome {
            Err(error) if !several => return Err(error),
            outcome => batch.push(id, outcome),
        }
    }
    batch.verdict(session)
}
