//! Checks of registers: what nodes host is what others are told.

use super::facts::MeshFacts;
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};

/// The item of a node's readiness that says how far its pools are as its catalogue says.
const ITEM: &str = "registers";
/// The item that says whether nodes of federated clusters answer.
const FEDERATED: &str = "federated-registers";

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "registers",
    page: "runbooks/registers.md",
    checks: &[
        CheckDefinition::new(
            "registers-synced",
            "every pool is as the catalogue says",
            "What a node hosts is not what others are told: a pool cannot be reached, or has entries that should go and an \
             automatic run does not dare to remove so many.",
            CheckJudge::Nodes(synced),
        ),
        CheckDefinition::new(
            "registers-federated",
            "nodes of other clusters answer whose advertisements are fetched",
            "No node of a cluster answers: what it advertises is shown as it was, and runs out.",
            CheckJudge::Nodes(federated),
        ),
    ],
    items: &[ITEM, FEDERATED],
};

fn synced(facts: &MeshFacts) -> CheckResult {
    let found = CheckResult::of_item(
        facts,
        ITEM,
        CheckVerdict::Warn,
        "pools are as the catalogues say",
        "the daemon does not say",
    )
    .about_themselves();
    found.next("omnirelay registers status    # with --node, of the one that is named")
}

fn federated(facts: &MeshFacts) -> CheckResult {
    let found = CheckResult::of_item(
        facts,
        FEDERATED,
        CheckVerdict::Warn,
        "what is federated answers",
        "the daemon does not say",
    )
    .about_themselves();
    found.next("omnirelay registers status    # with --node, of the one that is named: its nodes there and why they do not answer")
}
