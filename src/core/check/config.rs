//! Checks of what endpoints speak: as the transport policy says.

use super::facts::MeshFacts;
use super::finding::{Category, Check, Finding, Judge, Verdict};

/// The items of a node's readiness.
const ITEM: &str = "transport-policy";
const WARNINGS: &str = "transport-policy-warnings";
const UNSAID: &str = "the daemon does not say";

pub static CATEGORY: Category = Category {
    name: "config",
    page: "runbooks/transport-policy.md",
    checks: &[
        Check::new(
            "config-transport-policy",
            "what every node listens at is allowed by the transport policy",
            "An endpoint of a node speaks what the policy that holds does not allow, or the policy breaks a rule that none may. It \
         goes on to be served: the endpoint is to be changed, or the policy brought back.",
            Judge::Nodes(policy),
        ),
        Check::new(
            "config-transport-budgets",
            "what is to go is within its budget, and no exception has ended",
            "More endpoints of a node take raw, or speak what is legacy, than the transport policy says there may be; or an \
             exception in it has ended, and what it allowed is refused again.",
            Judge::Nodes(budgets),
        ),
    ],
    items: &[ITEM, WARNINGS],
};

fn policy(facts: &MeshFacts) -> Finding {
    Finding::of_item(facts, ITEM, Verdict::Fail, "every endpoint is allowed", UNSAID)
        .about_themselves()
        .next("omnirelay mesh config get    # then change the endpoint, or mesh config rollback")
}

fn budgets(facts: &MeshFacts) -> Finding {
    Finding::of_item(facts, WARNINGS, Verdict::Warn, "no budget is exceeded", UNSAID)
        .about_themselves()
        .next("omnirelay mesh config get    # which endpoints; then move them, or raise the budget")
}
