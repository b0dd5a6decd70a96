//! Checks of shards: each has an owner, what is to be done is done, and no node has much more than its share.

use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_core::text::{count, some_of};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::facts::{MeshFacts, NAMED_MAX, RegistryFacts};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};
use crate::shards::alarms::UNBALANCED;
use pb::namespace::State;

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "shards",
    page: "runbooks/shards.md",
    checks: &[
        CheckDefinition::new(
            "shards-owned",
            "every shard has an owner",
            "Nobody may own some shards: no node is left that the rules of their namespace allow. Or their owners are gone and \
             nobody has given them to others yet. Work for them waits.",
            CheckJudge::Leases(owned),
        ),
        CheckDefinition::new(
            "shards-controller",
            "somebody places shards",
            "Whoever leads the scope `global-control` gives shards their owners. It is not there, or nobody leads it: no namespace \
             is made, and the shards of nodes that are gone or drained stay with them.",
            CheckJudge::Leases(controller),
        ),
        CheckDefinition::new(
            "shards-paused",
            "no shard is paused or disabled",
            "An operator has paused or disabled shards. They stay so until somebody resumes them: what is paused does \
             not move for balance, and nobody serves what is disabled.",
            CheckJudge::Registry(paused),
        ),
        CheckDefinition::new(
            "shards-rebalancing",
            "what is to be done with shards is done",
            "A plan has failed, waits for somebody, or is held up: by the brake, by a node that is in doubt, or because too \
             few nodes may own shards.",
            CheckJudge::Leases(rebalancing),
        ),
        CheckDefinition::new(
            "shards-balance",
            "no node has much more than its share",
            "A node owns a quarter more shards than its share by weight, or has more to do than its thresholds allow.",
            CheckJudge::Leases(balanced),
        ),
        CheckDefinition::new(
            "shards-holders",
            "every namespace names who may hold its shards",
            "Callers of the mesh have to prove who they are, and the policy of a namespace names no `holders`: whoever may connect \
             gets fence tokens of its shards, and reports what there is to do for nodes.",
            CheckJudge::Registry(held),
        ),
    ],
    items: &[],
};

fn owned(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let part = |some: u32, one: &pb::Namespace| {
        (some > 0).then(|| format!("{some} of {} of {}", one.shards, one.namespace))
    };
    let orphaned = named(registry, |one| part(one.orphaned, one));
    if !orphaned.is_empty() {
        return judged(
            registry,
            &orphaned,
            "",
            CheckVerdict::Fail,
            "shards are owned by nodes that are gone",
        );
    }
    let without = named(registry, |one| part(one.unowned, one));
    judged(
        registry,
        &without,
        "every shard has an owner that lives",
        CheckVerdict::Fail,
        "shards have no owner",
    )
}

fn controller(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let scope = registry.scopes.iter().find(|scope| scope.scope == GLOBAL_CONTROL);
    match scope.map(|scope| scope.leader_id.as_str()) {
        _ if registry.namespaces.is_empty() => CheckResult::skip("there is no namespace"),
        None => {
            CheckResult::fail(format!("the scope {GLOBAL_CONTROL} is not there, so nobody places shards"))
                .hint(format!("omnirelay mesh leaders create {GLOBAL_CONTROL}"))
        }
        Some("") => CheckResult::fail(format!("nobody leads {GLOBAL_CONTROL}, so nobody places shards"))
            .hint(format!("omnirelay mesh leaders explain {GLOBAL_CONTROL}")),
        Some(leader) => CheckResult::pass(format!("{leader} places shards")),
    }
}

fn paused(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let paused = named(registry, |one| {
        (one.paused > 0).then(|| format!("{} of {} of {}", one.paused, one.shards, one.namespace))
    });
    let finding = judged(registry, &paused, "none is", CheckVerdict::Warn, "shards are paused or disabled");
    match paused.first() {
        Some((first, _)) => finding.hint(format!(
            "omnirelay mesh shards list --namespace {first}    # which; then omnirelay mesh shards resume {first}/SHARD, paused or disabled"
        )),
        None => finding,
    }
}

fn rebalancing(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let words = |states: &[State]| {
        named(registry, |one| {
            states.contains(&one.state()).then(|| format!("{} ({})", one.namespace, one.state_reason))
        })
    };
    let failed = words(&[State::Failed]);
    if failed.is_empty() {
        let waiting = words(&[State::Investigating, State::RebalancePending]);
        return judged(registry, &waiting, "nothing is held up", CheckVerdict::Warn, "something waits");
    }
    let is_failed = |one: &&pb::Namespace| one.state() == State::Failed;
    let waits = |one: &pb::Namespace| one.orphaned > 0 || one.unowned > 0;
    let verdict = match registry.namespaces.iter().filter(is_failed).any(waits) {
        true => CheckVerdict::Fail,
        false => CheckVerdict::Warn,
    };
    judged(registry, &failed, "", verdict, "plans have failed")
}

fn balanced(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let uneven = named(registry, |one| {
        if one.overloaded > 0 {
            return Some(format!(
                "{} ({} with too much to do)",
                one.namespace,
                count(one.overloaded, "node")
            ));
        }
        let ratio = one.imbalance.filter(|ratio| *ratio > UNBALANCED)?;
        Some(format!("{} ({ratio:.2} times a share)", one.namespace))
    });
    let fine = "no node has much more than its share";
    judged(registry, &uneven, fine, CheckVerdict::Warn, "shards are unbalanced")
}

fn held(registry: &RegistryFacts, facts: &MeshFacts) -> CheckResult {
    if facts.own().is_none_or(|own| own.let_in != "nobody") {
        return CheckResult::skip("callers need not prove who they are");
    }
    let open = named(registry, |one| {
        let holders = one.spec.as_ref().and_then(|spec| Some(spec.policy.as_ref()?.holders.is_empty()));
        holders.unwrap_or(true).then(|| one.namespace.clone())
    });
    let fine = "each names who may hold its shards";
    let finding = judged(registry, &open, fine, CheckVerdict::Warn, "whoever may connect may hold shards of");
    match open.first() {
        Some((first, _)) => finding.hint(format!(
            "omnirelay mesh namespaces set {first} --holder service:NAME    # the identity of its workers"
        )),
        None => finding,
    }
}

/// What is said of those namespaces of which something is, each with its name.
fn named(registry: &RegistryFacts, of: impl Fn(&pb::Namespace) -> Option<String>) -> Vec<(String, String)> {
    registry.namespaces.iter().filter_map(|one| Some((one.namespace.clone(), of(one)?))).collect()
}

fn judged(
    registry: &RegistryFacts,
    found: &[(String, String)],
    fine: &str,
    verdict: CheckVerdict,
    bad: &str,
) -> CheckResult {
    let [(first, _), ..] = found else {
        return match registry.namespaces.len() as u64 {
            0 => CheckResult::skip("there is no namespace"),
            all => CheckResult::pass(format!("{}: {fine}", count(all, "namespace"))),
        };
    };
    let words: Vec<&str> = found.iter().map(|(_, words)| words.as_str()).collect();
    CheckResult::new(verdict, format!("{bad}: {}", some_of(&words, NAMED_MAX)))
        .hint(format!("omnirelay mesh namespaces get {first}"))
}
