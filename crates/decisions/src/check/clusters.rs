//! Checks of clusters: domains that are followed here, and those that others follow.

use super::facts::MeshFacts;
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};

/// The items of a node's readiness.
const FOLLOWED: &str = "domains-followed";
const PROTECTED: &str = "domains-protected";
const UNSAID: &str = "the daemon does not say";

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "clusters",
    page: "runbooks/clusters.md",
    checks: &[
        CheckDefinition::new(
            "clusters-followed",
            "what is active in another cluster is followed here",
            "A domain is active in another cluster, and what is here of it is old: that cluster is not heard, all is compared anew, or the \
             brake has stopped what would be deleted, which waits for an operator's word.",
            CheckJudge::Nodes(followed),
        ),
        CheckDefinition::new(
            "clusters-protected",
            "whoever follows what is active here has all of it",
            "A cluster that follows a domain of this one has not had everything for more than half a minute: what was committed since is in \
             no other cluster.",
            CheckJudge::Nodes(protected),
        ),
    ],
    items: &[FOLLOWED, PROTECTED],
};

fn followed(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(
        facts,
        FOLLOWED,
        CheckVerdict::Warn,
        "every domain of other clusters is followed",
        UNSAID,
    )
    .next("omnirelay mesh domains list    # which, and in what state; mesh domains get says why")
}

fn protected(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(
        facts,
        PROTECTED,
        CheckVerdict::Warn,
        "every cluster that follows has everything",
        UNSAID,
    )
    .next("omnirelay mesh clusters check    # how far each is, and what it says of itself")
}
