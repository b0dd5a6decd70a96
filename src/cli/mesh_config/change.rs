//! Change of the policy, common to set and rollback: how it is made, and what is told of it.

use super::{NAME, report};
use crate::frame::prelude::*;

/// Sends a change and prints the answer; `fields` are those that only this change has.
///
/// # Errors
/// The daemon's fault; usage, when the flags do not fit.
pub(super) async fn run(
    rpc: &RpcMethod,
    write: &WriteArgs,
    fields: Value,
    done: &'static str,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    session.announce_target()?;
    let mut request = fields;
    request["reason"] = json!(write.reason_text());
    request["dryRun"] = json!(write.is_dry_run());
    if let Some(version) = write.if_match {
        request["expectedVersion"] = json!(version.to_string());
    }
    let part = if write.is_dry_run() { "/dry-run" } else { "" };
    // That a policy is empty says something: all is as by default.
    let document = session.call(&Call::exactly(rpc, &request)?.keyed(&write.key()?, part)).await?;
    let head = changed::head(NAME, &document, done, "it is so already");
    let mut lines = changed::told(&head, changed::lines(&document, done));
    if report::warns(field(&document, "report")) {
        lines.push_str(&report::describe(field(&document, "report")));
    }
    let changed = flag(&document, "changed");
    session.show(&CommandOutput::lines(document, NAME, lines))?;
    Ok(if changed && write.exit_code { Exit::Negative } else { Exit::Ok })
}
