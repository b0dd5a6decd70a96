//! Checks of the audit trail: it is sealed, and as it was written.

use super::facts::MeshFacts;
use super::finding::{Category, Check, Finding, Judge, Verdict};

/// The items of a node's readiness: whether its records are sealed, and whether it found any that were changed.
const SEALED: &str = "audit";
const TRAIL: &str = "audit-trail";
const UNSAID: &str = "the daemon does not say";

pub static CATEGORY: Category = Category {
    name: "audit",
    page: "guides/operations.md",
    checks: &[
        Check::new(
            "audit-sealed",
            "every node seals its records",
            "A node has stopped to seal the records of what was done there, so that they could be changed unnoticed, \
             until somebody has looked and starts it again.",
            Judge::Nodes(sealed),
        ),
        Check::new(
            "audit-trail",
            "no node has found the trail changed",
            "Records or seals were gone, or were not as they were written, when a node looked: the store has lost \
             them, or somebody changed them.",
            Judge::Nodes(trail),
        ),
    ],
    items: &[SEALED, TRAIL],
};

fn sealed(facts: &MeshFacts) -> Finding {
    Finding::of_item(facts, SEALED, Verdict::Fail, "records are sealed", UNSAID)
        .about_themselves()
        .next("omnirelay audit verify")
}

fn trail(facts: &MeshFacts) -> Finding {
    let found = Finding::of_item(facts, TRAIL, Verdict::Warn, "no node has found the trail changed", UNSAID);
    found.next("omnirelay audit verify")
}
