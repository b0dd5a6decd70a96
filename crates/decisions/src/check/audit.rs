//! Checks of the audit trail: it is sealed, and as it was written.

use super::facts::MeshFacts;
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};

/// The items of a node's readiness: whether its records are sealed, and whether it found any that were changed.
const SEALED: &str = "audit";
const TRAIL: &str = "audit-trail";
const UNSAID: &str = "the daemon does not say";

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "audit",
    page: "guides/operations.md",
    checks: &[
        CheckDefinition::new(
            "audit-sealed",
            "every node seals its records",
            "A node has stopped to seal the records of what was done there, so that they could be changed unnoticed, \
             until somebody has looked and starts it again.",
            CheckJudge::Nodes(sealed),
        ),
        CheckDefinition::new(
            "audit-trail",
            "no node has found the trail changed",
            "Records or seals were gone, or were not as they were written, when a node looked: the store has lost \
             them, or somebody changed them.",
            CheckJudge::Nodes(trail),
        ),
    ],
    items: &[SEALED, TRAIL],
};

fn sealed(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, SEALED, CheckVerdict::Fail, "records are sealed", UNSAID)
        .about_themselves()
        .next("omnirelay audit verify")
}

fn trail(facts: &MeshFacts) -> CheckResult {
    let found =
        CheckResult::of_item(facts, TRAIL, CheckVerdict::Warn, "no node has found the trail changed", UNSAID);
    found.next("omnirelay audit verify")
}
