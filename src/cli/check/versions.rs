//! Checks of versions: this client and the daemon can work together.

use omnirelay_decisions::check::finding::{CheckDefinition, CheckResult, FactExaminer, FindingCategory};
use omnirelay_decisions::check::versions::{are_apart, version};

use super::not_asked;
use crate::check::checked_mesh::CheckedFacts;
use crate::frame::document::text;

pub(super) static CATEGORY: FindingCategory<FactExaminer<CheckedFacts>> = FindingCategory {
    name: "versions",
    page: "guides/operations.md",
    checks: &[
        CheckDefinition::new(
            "versions-client",
            "this client is new enough for the daemon",
            "The daemon no longer serves what this client may send.",
            client,
        ),
        CheckDefinition::new(
            "versions-daemon",
            "client and daemon are at most one minor version apart",
            "What one of them can do, the other may not know. Nothing breaks, but something may be missing.",
            daemon,
        ),
    ],
    items: &[],
};

/// This client's own version.
const CLIENT: &str = env!("CARGO_PKG_VERSION");

fn client(facts: &CheckedFacts) -> CheckResult {
    let Ok(node) = &facts.node.said else { return not_asked() };
    let least = text(node, "clientVersionMin");
    match (version(CLIENT), version(least)) {
        (Some(ours), Some(least_parsed)) if ours < least_parsed => {
            CheckResult::fail(format!("this client is {CLIENT}, the daemon serves {least} and later"))
                .hint(format!("install omnirelay {} on this machine", text(node, "version")))
        }
        (Some(_), Some(_)) => CheckResult::pass(format!("client {CLIENT}, needed {least}")),
        _ => CheckResult::unknown(format!("the daemon names no version it serves (`{least}`)")),
    }
}

fn daemon(facts: &CheckedFacts) -> CheckResult {
    let Ok(node) = &facts.node.said else { return not_asked() };
    let theirs = text(node, "version");
    match (version(CLIENT), version(theirs)) {
        (Some(ours), Some(parsed)) if are_apart(ours, parsed) => {
            CheckResult::warn(format!("client {CLIENT}, daemon {theirs}: more than one minor version apart"))
                .hint(format!("install omnirelay {theirs} on this machine"))
        }
        (Some(_), Some(_)) => CheckResult::pass(format!("client {CLIENT}, daemon {theirs}")),
        _ => CheckResult::unknown(format!("the daemon's version `{theirs}` cannot be compared")),
    }
}
