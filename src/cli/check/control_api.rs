//! Checks of the daemon that answers: it is there, and the caller may ask it.

use omnirelay_decisions::check::finding::{CheckDefinition, CheckResult, FactExaminer, FindingCategory};

use super::{next_of, not_asked};
use crate::check::checked_mesh::CheckedFacts;
use crate::frame::prelude::*;

pub(super) static CATEGORY: FindingCategory<FactExaminer<CheckedFacts>> = FindingCategory {
    name: "control-api",
    page: "guides/operations.md",
    checks: &[
        CheckDefinition::new(
            "control-api-reachable",
            "the daemon answers",
            "Nothing answers at the address, or what answers is no daemon: everything else could not be asked. The \
             mesh itself may be well.",
            reachable,
        ),
        CheckDefinition::new(
            "control-api-access",
            "the caller is known and may read",
            "The daemon does not know who asks, or gives them no scope to read with.",
            access,
        ),
    ],
    items: &[],
};

fn reachable(facts: &CheckedFacts) -> CheckResult {
    let (address, ms) = (&facts.address, facts.node.took.as_millis());
    match &facts.node.said {
        Ok(node) if flag(node, "development") => {
            CheckResult::pass(format!("{address} answered in {ms}ms, of a development mesh (omnirelay up)"))
        }
        Ok(_) => CheckResult::pass(format!("{address} answered in {ms}ms")),
        // Whoever refuses a caller has answered.
        Err(error) if matches!(error.exit(), Exit::Denied | Exit::Unauthenticated) => {
            CheckResult::pass(format!("{address} answered in {ms}ms"))
        }
        Err(error) if error.exit() == Exit::Usage => not_asked(),
        Err(error) => {
            let cause = error.body().cause.clone().unwrap_or_default().replace('\n', "; ");
            CheckResult::fail(format!("{}: {cause}", error.body().message))
                .hint(next_of(error, "omnirelay context current -v    # where this address comes from"))
        }
    }
}

fn access(facts: &CheckedFacts) -> CheckResult {
    match &facts.node.said {
        Ok(node) => {
            let scopes: Vec<&str> = items(node, "scopes").iter().filter_map(Value::as_str).collect();
            let who = format!("{} with {}", text(node, "principal"), scopes.join(", "));
            if scopes.contains(&"mesh.read") {
                CheckResult::pass(format!("known as {who}"))
            } else {
                CheckResult::fail(format!("known as {who}, which cannot read"))
                    .hint("have an owner of the mesh bind mesh.read to you: omnirelay bindings set --help")
            }
        }
        Err(error) if matches!(error.exit(), Exit::Denied | Exit::Unauthenticated) => {
            CheckResult::fail(error.body().message.clone())
                .hint(next_of(error, "name a file with a token that the daemon knows: --token-file"))
        }
        Err(_) => not_asked(),
    }
}
