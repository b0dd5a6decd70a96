//! Checks of what endpoints speak: as the transport policy says.

use std::collections::BTreeMap;

use omnirelay_core::text::some_of;

use super::facts::{MeshFacts, NAMED_MAX};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};

/// The items of a node's readiness.
const ITEM: &str = "transport-policy";
const WARNINGS: &str = "transport-policy-warnings";
const UNSAID: &str = "the daemon does not say";

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "config",
    page: "runbooks/transport-policy.md",
    checks: &[
        CheckDefinition::new(
            "config-transport-policy",
            "what every node listens at is allowed by the transport policy",
            "An endpoint of a node speaks what the policy that holds does not allow, or the policy breaks a rule that none may. It \
         goes on to be served: the endpoint is to be changed, or the policy brought back.",
            CheckJudge::Nodes(policy),
        ),
        CheckDefinition::new(
            "config-transport-budgets",
            "what is to go is within its budget, and no exception has ended",
            "More endpoints of a node take raw, or speak what is legacy, than the transport policy says there may be; or an \
             exception in it has ended, and what it allowed is refused again.",
            CheckJudge::Nodes(budgets),
        ),
        CheckDefinition::new(
            "config-same",
            "what is to be the same on all nodes is the same",
            "A setting that concerns the whole mesh is not the same everywhere: how long sessions and the audit trail live, when a \
             silent node is dead, whether and how fast nodes gossip, how many shards there may be, who may approve. What holds \
             depends then on the node that happens to act.",
            CheckJudge::Nodes(same),
        ),
        CheckDefinition::new(
            "config-restart",
            "every daemon runs with the configuration that it was given",
            "A setting was changed that a daemon takes over only when it starts, such as where it listens or where its records are, \
             and it goes on with the old one. It may start otherwise than it runs, or not at all.",
            CheckJudge::Nodes(restart),
        ),
    ],
    items: &[ITEM, WARNINGS],
};

/// The values that a setting has, each with the nodes that have it.
type SettingValues<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// By what each node says of its settings; daemons of before say nothing of them.
fn same(facts: &MeshFacts) -> CheckResult {
    let (mut settings, mut told) = (BTreeMap::<&str, SettingValues<'_>>::new(), Vec::new());
    for (id, node) in facts.told().filter(|(_, node)| !node.mesh_wide_settings.is_empty()) {
        told.push(id);
        for (name, value) in &node.mesh_wide_settings {
            settings.entry(name).or_default().entry(value).or_default().push(id);
        }
    }
    let different: Vec<(&str, SettingValues<'_>)> =
        settings.into_iter().filter(|(_, values)| values.len() > 1).collect();
    let words = different.iter().map(|(name, values)| {
        let values: Vec<String> =
            values.iter().map(|(value, ids)| format!("{value} on {}", some_of(ids, NAMED_MAX))).collect();
        format!("{name} is {}", some_of(&values, NAMED_MAX))
    });
    // Whoever has what most have is not to blame.
    let few = different.iter().flat_map(|(_, values)| {
        let most = values.values().map(Vec::len).max().unwrap_or_default();
        values.values().filter(move |ids| ids.len() < most).flatten().copied()
    });
    let about: Vec<&str> = few.collect();
    match (words.collect::<Vec<_>>().as_slice(), told.len()) {
        ([], 0) => CheckResult::skip("the daemons do not say"),
        ([], said) => {
            CheckResult::pass(format!("settings of the mesh agree{}", facts.coverage(said))).seen_by(told)
        }
        (different, _) => CheckResult::warn(different.join("\n"))
            .hint("omnirelay mesh config reload --node NODE    # once omnirelayd config print says the same on those hosts")
            .seen_by(told)
            .about(about),
    }
}

/// By the keys that each node names; daemons of before name none.
fn restart(facts: &MeshFacts) -> CheckResult {
    let told: Vec<&str> = facts.told().map(|(id, _)| id).collect();
    let waits: Vec<(&str, &[String])> = facts
        .told()
        .map(|(id, node)| (id, node.restart_due.as_slice()))
        .filter(|(_, keys)| !keys.is_empty())
        .collect();
    if waits.is_empty() {
        let text = format!("no setting waits for a restart{}", facts.coverage(told.len()));
        return CheckResult::pass(text).seen_by(told);
    }
    let words: Vec<String> =
        waits.iter().map(|(id, keys)| format!("{id}: {}", some_of(keys, NAMED_MAX))).collect();
    CheckResult::warn(format!("wait for a restart: {}", some_of(&words, NAMED_MAX)))
        .hint("systemctl restart omnirelayd    # on that host, after omnirelayd config validate")
        .seen_by(waits.iter().map(|(id, _)| *id))
        .about_themselves()
}

fn policy(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, ITEM, CheckVerdict::Fail, "every endpoint is allowed", UNSAID)
        .about_themselves()
        .next("omnirelay mesh config get    # then change the endpoint, or mesh config rollback")
}

fn budgets(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, WARNINGS, CheckVerdict::Warn, "no budget is exceeded", UNSAID)
        .about_themselves()
        .next("omnirelay mesh config get    # which endpoints; then move them, or raise the budget")
}
