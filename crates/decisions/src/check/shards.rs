//! Checks of shards: each has an owner, what is to be done is done, and no node has much more than its share.

use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_core::text::{count, some_of};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::facts::{MeshFacts, NAMED_MAX, RegistryFacts};
use super::finding::{Category, Check, Finding, Judge, Verdict};
use crate::shards::alarms::UNBALANCED;
use pb::namespace::State;

pub static CATEGORY: Category = Category {
    name: "shards",
    page: "runbooks/shards.md",
    checks: &[
        Check::new(
            "shards-owned",
            "every shard has an owner",
            "Nobody may own some shards: no node is left that the rules of their namespace allow. Or their owners are gone and \
             nobody has given them to others yet. Work for them waits.",
            Judge::Leases(owned),
        ),
        Check::new(
            "shards-controller",
            "somebody places shards",
            "Whoever leads the scope `global-control` gives shards their owners. It is not there, or nobody leads it: no namespace \
             is made, and the shards of nodes that are gone or drained stay with them.",
            Judge::Leases(controller),
        ),
        Check::new(
            "shards-paused",
            "no shard is paused or disabled",
            "An operator has paused or disabled shards. They stay so until somebody resumes them: what is paused does \
             not move for balance, and nobody serves what is disabled.",
            Judge::Registry(paused),
        ),
        Check::new(
            "shards-rebalancing",
            "what is to be done with shards is done",
            "A plan has failed, waits for somebody, or is held up: by the brake, by a node that is in doubt, or because too \
             few nodes may own shards.",
            Judge::Leases(rebalancing),
        ),
        Check::new(
            "shards-balance",
            "no node has much more than its share",
            "A node owns a quarter more shards than its share by weight, or has more to do than its thresholds allow.",
            Judge::Leases(balanced),
        ),
        Check::new(
            "shards-holders",
            "every namespace names who may hold its shards",
            "Callers of the mesh have to prove who they are, and the policy of a namespace names no `holders`: whoever may connect \
             gets fence tokens of its shards, and reports what there is to do for nodes.",
            Judge::Registry(held),
        ),
    ],
    items: &[],
};

fn owned(registry: &RegistryFacts, _: &MeshFacts) -> Finding {
    let part = |some: u32, one: &pb::Namespace| {
        (some > 0).then(|| format!("{some} of {} of {}", one.shards, one.namespace))
    };
    let orphaned = named(registry, |one| part(one.orphaned, one));
    if !orphaned.is_empty() {
        return judged(registry, &orphaned, "", Verdict::Fail, "shards are owned by nodes that are gone");
    }
    let without = named(registry, |one| part(one.unowned, one));
    judged(registry, &without, "every shard has an owner that lives", Verdict::Fail, "shards have no owner")
}

fn controller(registry: &RegistryFacts, _: &MeshFacts) -> Finding {
    let scope = registry.scopes.iter().find(|scope| scope.scope == GLOBAL_CONTROL);
    match scope.map(|scope| scope.leader_id.as_str()) {
        _ if registry.namespaces.is_empty() => Finding::skip("there is no namespace"),
        None => Finding::fail(format!("the scope {GLOBAL_CONTROL} is not there, so nobody places shards"))
            .hint(format!("omnirelay mesh leaders create {GLOBAL_CONTROL}")),
        Some("") => Finding::fail(format!("nobody leads {GLOBAL_CONTROL}, so nobody places shards"))
            .hint(format!("omnirelay mesh leaders explain {GLOBAL_CONTROL}")),
        Some(leader) => Finding::pass(format!("{leader} places shards")),
    }
}

fn paused(registry: &RegistryFacts, _: &MeshFacts) -> Finding {
    let paused = named(registry, |one| {
        (one.paused > 0).then(|| format!("{} of {} of {}", one.paused, one.shards, one.namespace))
    });
    let finding = judged(registry, &paused, "none is", Verdict::Warn, "shards are paused or disabled");
    match paused.first() {
        Some((first, _)) => finding.hint(format!(
            "omnirelay mesh shards list --namespace {first}    # which; then omnirelay mesh shards resume {first}/SHARD, paused or disabled"
        )),
        None => finding,
    }
}

fn rebalancing(registry: &RegistryFacts, _: &MeshFacts) -> Finding {
    let words = |states: &[State]| {
        named(registry, |one| {
            states.contains(&one.state()).then(|| format!("{} ({})", one.namespace, one.state_reason))
        })
    };
    let failed = words(&[State::Failed]);
    if failed.is_empty() {
        let waiting = words(&[State::Investigating, State::RebalancePending]);
        return judged(registry, &waiting, "nothing is held up", Verdict::Warn, "something waits");
    }
    let is_failed = |one: &&pb::Namespace| one.state() == State::Failed;
    let waits = |one: &pb::Namespace| one.orphaned > 0 || one.unowned > 0;
    let verdict = match registry.namespaces.iter().filter(is_failed).any(waits) {
        true => Verdict::Fail,
        false => Verdict::Warn,
    };
    judged(registry, &failed, "", verdict, "plans have failed")
}

fn balanced(registry: &RegistryFacts, _: &MeshFacts) -> Finding {
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
    judged(registry, &uneven, fine, Verdict::Warn, "shards are unbalanced")
}

fn held(registry: &RegistryFacts, facts: &MeshFacts) -> Finding {
    if facts.own().is_none_or(|own| own.let_in != "nobody") {
        return Finding::skip("callers need not prove who they are");
    }
    let open = named(registry, |one| {
        let holders = one.spec.as_ref().and_then(|spec| Some(spec.policy.as_ref()?.holders.is_empty()));
        holders.unwrap_or(true).then(|| one.namespace.clone())
    });
    let fine = "each names who may hold its shards";
    let finding = judged(registry, &open, fine, Verdict::Warn, "whoever may connect may hold shards of");
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
    verdict: Verdict,
    bad: &str,
) -> Finding {
    let [(first, _), ..] = found else {
        return match registry.namespaces.len() as u64 {
            0 => Finding::skip("there is no namespace"),
            all => Finding::pass(format!("{}: {fine}", count(all, "namespace"))),
        };
    };
    let words: Vec<&str> = found.iter().map(|(_, words)| words.as_str()).collect();
    Finding::new(verdict, format!("{bad}: {}", some_of(&words, NAMED_MAX)))
        .hint(format!("omnirelay mesh namespaces get {first}"))
}
