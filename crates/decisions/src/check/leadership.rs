//! Checks of leadership: every scope is led, by a node that lives, and not by another one each minute.

use omnirelay_core::text::count;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::facts::{MeshFacts, RegistryFacts, is_alive};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, FindingCategory};

/// So many leaders lost within an hour are told.
const FLAPS_WARN: u32 = 3;

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "leadership",
    page: "runbooks/leadership.md",
    checks: &[
        CheckDefinition::new(
            "leadership-led",
            "every scope has a leader",
            "Nobody holds the lease of a scope, so what only its leader may do is not done. A hand-over takes about \
             two seconds after a crash and none when it is asked for.",
            CheckJudge::Leases(led),
        ),
        CheckDefinition::new(
            "leadership-incumbents",
            "every leader is a live peer",
            "The lease of a scope is held by a node that is not alive; it runs out within seconds.",
            CheckJudge::Leases(incumbents),
        ),
        CheckDefinition::new(
            "leadership-drained",
            "no node that drains leads",
            "A node was told to hand over what it leads, and nobody can take it: none is allowed to, or none lives.",
            CheckJudge::Registry(drained),
        ),
        CheckDefinition::new(
            "leadership-stable",
            "no scope loses its leader often",
            "Leases of a scope ran out several times within an hour: nodes that come and go, or a store that is slow. \
             What was handed over does not count.",
            CheckJudge::Registry(stable),
        ),
    ],
    items: &[],
};

fn led(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let without: Vec<&str> = registry
        .scopes
        .iter()
        .filter(|scope| scope.leader_id.is_empty())
        .map(|scope| scope.scope.as_str())
        .collect();
    match (without.as_slice(), registry.scopes.len() as u64) {
        ([], 0) => CheckResult::skip("there is no scope"),
        ([], all) => CheckResult::pass(format!("{} led", count(all, "scope"))),
        ([one], _) => CheckResult::fail(format!("nobody leads {one}"))
            .hint(format!("omnirelay mesh leaders explain {one}")),
        ([first, ..], all) => {
            CheckResult::fail(format!("nobody leads {first}, and {} of {all} scopes in all", without.len()))
                .hint(format!("omnirelay mesh leaders explain {first}"))
        }
    }
}

/// The scopes that somebody leads.
fn held(registry: &RegistryFacts) -> impl Iterator<Item = &pb::Leadership> {
    registry.scopes.iter().filter(|scope| !scope.leader_id.is_empty())
}

fn incumbents(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let gone: Vec<String> = held(registry)
        .filter_map(|scope| {
            let peer = registry.peer(&scope.leader_id);
            let status = match peer {
                Some(peer) if is_alive(peer) => return None,
                Some(peer) => peer.status().as_str_name(),
                None => "unknown",
            };
            Some(format!("{} is led by {}, which is {status}", scope.scope, scope.leader_id))
        })
        .collect();
    match gone.as_slice() {
        [] => CheckResult::pass("every leader is a live peer"),
        gone => CheckResult::warn(gone.join("; "))
            .hint("omnirelay mesh check --wait 10s    # leases run out by themselves"),
    }
}

fn drained(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let drains = |id: &str| registry.peer(id).is_some_and(|peer| peer.draining);
    match held(registry).find(|scope| drains(&scope.leader_id)) {
        None => CheckResult::pass("no node that drains leads"),
        Some(pb::Leadership { scope, leader_id, .. }) => {
            CheckResult::warn(format!("{leader_id} drains, and still leads {scope}"))
                .hint(format!("omnirelay mesh leaders explain {scope}"))
                .about([leader_id.as_str()])
        }
    }
}

fn stable(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let Some(worst) = registry.scopes.iter().max_by_key(|scope| scope.flaps_last_hour) else {
        return CheckResult::skip("there is no scope");
    };
    let (name, flaps) = (&worst.scope, worst.flaps_last_hour);
    if flaps >= FLAPS_WARN {
        return CheckResult::warn(format!("{name} lost its leader {flaps} times within an hour"))
            .hint(format!("omnirelay mesh leaders history {name}"));
    }
    CheckResult::pass(match flaps {
        0 => "no scope lost its leader within an hour".to_owned(),
        _ => format!("no scope lost its leader more than {} within an hour", count(flaps, "time")),
    })
}
