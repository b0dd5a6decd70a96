//! Checks of capacity: how much is used of what there is a limit of.

use super::facts::MeshFacts;
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};

/// The items of a node's readiness.
const REACHED: &str = "limits-reached";
const NEAR: &str = "limits-near";
const UNSAID: &str = "the daemon does not say";

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "capacity",
    page: "runbooks/capacity.md",
    checks: &[
        CheckDefinition::new(
            "capacity-reached",
            "nothing is refused because of a limit",
            "A limit that is enforced is reached: what would go beyond it is refused, such as hosts that join, namespaces, registers, or \
             watches. What keeps the mesh alive is not: sessions, leases, hand-overs, leaves and restorations go on.",
            CheckJudge::Nodes(reached),
        ),
        CheckDefinition::new(
            "capacity-near",
            "no limit is near",
            "80 % or more of a limit is used, or all of one that is observed alone. Whoever wants to grow further has to make room, or \
             raise the limit, before it is reached.",
            CheckJudge::Nodes(near),
        ),
    ],
    items: &[REACHED, NEAR],
};

fn reached(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, REACHED, CheckVerdict::Fail, "no limit that is enforced is reached", UNSAID)
        .next("omnirelay mesh capacity    # which; then make room, or raise the setting and omnirelay mesh config reload --all-nodes")
}

fn near(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, NEAR, CheckVerdict::Warn, "no limit is near", UNSAID)
        .next("omnirelay mesh capacity    # how much of which, and how fast it grows")
}
