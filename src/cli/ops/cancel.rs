//! `ops cancel`.

use omnirelay_wire::rpc::operation_service;

use super::{KIND, is_ended};
use crate::complete;
use crate::frame::prelude::*;
use crate::node::NODE;
use crate::node::NodeArgs;
use crate::peers;

pub(super) const CANCEL: RpcMethod = operation_service::CANCEL;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("ops cancel", &[&CANCEL, &peers::get::GET, &peers::LIST, &NODE]);

const EXAMPLES: &str = "\
Examples:
  omnirelay ops cancel op_01JD8Z4Q6W0000000000000000 --reason \"wrong file\"
  omnirelay ops cancel op_01JD8Z4Q6W0000000000000000 --node node-2
  omnirelay ops cancel op_01JD8Z4Q6W0000000000000000 && omnirelay ops wait op_01JD8Z4Q6W0000000000000000";

/// Ask operations to stop at the next point at which they can
///
/// What they have done stays. Repeating it changes nothing, nor does cancelling one that has ended.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
#[command(mut_arg("if_match", |argument| argument.hide(true)))]
pub(super) struct OpsCancelArgs {
    /// Ids or operation/ID; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &OpsCancelArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    args.write.without_version("an operation")?;
    args.write.check(session, ids.len())?;
    node.go(session).await?;
    session.announce_target()?;
    let key = args.write.key()?;
    let several = ids.len() > 1;
    let mut changed = false;
    let mut batch = BatchOutcomes::new(KIND, "change", "could not be cancelled");
    for id in ids {
        let outcome = match batch.hopeless() {
            Some(error) => Err(error),
            None => session.call(&call(&args.write, &id, &key, several)?).await,
        };
        changed |= outcome.as_ref().is_ok_and(|document| flag(document, "changed"));
        batch.push(id, outcome);
    }
    let exit = batch.finish(session, describe)?;
    Ok(if changed && args.write.exit_code && exit == Exit::Ok { Exit::Negative } else { exit })
}

fn call(write: &WriteArgs, id: &str, key: &str, several: bool) -> Result<Call, CliError> {
    let request = json!({ "operationId": id, "reason": write.reason_text(), "dryRun": write.is_dry_run() });
    // One key per request: the same key with another request is a conflict.
    let mut part = if several { format!("/{id}") } else { String::new() };
    if write.is_dry_run() {
        part.push_str("/dry-run");
    }
    Ok(Call::of(&CANCEL, &request)?.keyed(key, &part))
}

/// `operation/op_1 asked to stop`
fn describe(id: &str, document: &Value) -> String {
    let operation = field(document, "operation");
    let already = match is_ended(operation) {
        true => format!("it has ended, {}", text(operation, "state")),
        false => "it was asked to stop before".to_owned(),
    };
    let said = match (flag(document, "changed"), flag(document, "dryRun")) {
        (true, false) => format!("{KIND}/{id} asked to stop"),
        (true, true) => format!("{KIND}/{id} would be asked to stop (dry run)"),
        (false, false) => format!("{KIND}/{id} unchanged: {already}"),
        (false, true) => format!("{KIND}/{id} would stay as it is: {already} (dry run)"),
    };
    format!("{}\n", printable(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_says_whether_it_was_asked_to_stop() {
        let said = |changed: bool, dry_run: bool, state: &str| {
            let operation = json!({"operationId": "op_1", "state": state});
            describe("op_1", &json!({"changed": changed, "dryRun": dry_run, "operation": operation}))
        };
        assert_eq!(said(true, false, "running"), "operation/op_1 asked to stop\n");
        assert_eq!(said(true, true, "running"), "operation/op_1 would be asked to stop (dry run)\n");
        assert_eq!(said(false, false, "partial"), "operation/op_1 unchanged: it has ended, partial\n");
        assert_eq!(
            said(false, true, "running"),
            "operation/op_1 would stay as it is: it was asked to stop before (dry run)\n"
        );
    }
}
