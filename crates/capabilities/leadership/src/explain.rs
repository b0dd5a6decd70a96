//! Explanation why a scope is led as it is, and what keeps it where it is.

use std::collections::BTreeMap;

use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_decisions::lease::{ElectionCandidate, LeaderExclusion};
use omnirelay_leadership_records::scope_state::ScopeState;
use omnirelay_nouns::{at_cursor, envelope, head_cursor};
use omnirelay_peer_records::roster::PeerRoster;
use omnirelay_registry::Registry;
use omnirelay_registry::view::View;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use tonic::Response;

use super::{check_scope, find, pb};
use pb::leadership_order::Verb;

/// Says why a node leads a scope, who else could, and who may not.
pub(super) async fn explain(
    registry: &Registry,
    request: pb::ExplainLeaderRequest,
) -> Result<Response<pb::ExplainLeaderResponse>, Fault> {
    check_scope(&request.scope)?;
    registry.ready_for(&request.min_revision).await?;
    let view = registry.view();
    let known = find(registry, &request.scope).await?;
    let cursor = head_cursor(view);
    let roster = PeerRoster::of(view);
    let nodes = roster.nodes();
    let quarantine_until = view.tenancy().quarantine_until();
    let candidates = candidates(&known, &nodes);
    let envelope = envelope(registry);
    let response = pb::ExplainLeaderResponse {
        cursor: cursor.clone(),
        because: because(&known, &candidates, quarantine_until),
        leadership: Some(known.leadership()),
        candidates,
        ..Default::default()
    }
    .within(envelope);
    Ok(at_cursor(response, &cursor))
}

/// Every node: those that may lead in the order in which they would campaign, then the others.
fn candidates(known: &ScopeState, nodes: &[ElectionCandidate<'_>]) -> Vec<pb::LeadershipCandidate> {
    let policy = known.policy();
    let ranked = policy.rank(known.scope(), nodes, None);
    let mut candidates: Vec<_> = nodes
        .iter()
        .map(|node| {
            let place = ranked.iter().position(|ranked| ranked.id == node.id);
            let excluded = policy.exclusions(node);
            pb::LeadershipCandidate {
                node_id: node.id.to_owned(),
                leads: known.leader() == Some(node.id),
                eligible: excluded.is_empty(),
                excluded_by: excluded.into_iter().map(|why| why.word().to_owned()).collect(),
                priority: policy.priority(node),
                rank: place.map_or(0, |place| place as u32 + 1),
            }
        })
        .collect();
    candidates.sort_by_key(|candidate| (candidate.rank == 0, candidate.rank, candidate.node_id.clone()));
    candidates
}

fn because(
    known: &ScopeState,
    candidates: &[pb::LeadershipCandidate],
    quarantine_until: Millis,
) -> Vec<String> {
    let shown = known.leadership();
    let mut lines = Vec::new();
    let eligible = candidates.iter().filter(|candidate| candidate.eligible).count();
    match known.valid() {
        Some((held, ..)) => {
            let leader = &held.node;
            let since = rfc3339(held.acquired_at);
            lines.push(format!("{leader} has led since {since}, in term {}: {}", held.term, shown.reason));
            lines.extend(incumbent(candidates, leader));
        }
        None if known.now < quarantine_until => lines.push(format!(
            "nobody is granted a scope before {}: the registry has begun a new epoch, and whoever led in the one before \
             must have noticed",
            rfc3339(quarantine_until)
        )),
        None if eligible == 0 => lines.push(format!("nobody leads: {}", why_nobody(candidates, ""))),
        None => lines.push(format!("nobody leads ({}); {eligible} nodes may, and ask in turn", shown.reason)),
    }
    if let Some(order) = &known.value.order {
        lines.push(format!("ordered by {}, and not done yet: {}", order.ordered_by, order_words(order)));
    }
    lines
}

/// What is notable about the one who leads.
fn incumbent(candidates: &[pb::LeadershipCandidate], leader: &str) -> Option<String> {
    let led_by = candidates.iter().find(|candidate| candidate.node_id == leader)?;
    let excluded = led_by.excluded_by.join(", ");
    let first = candidates.first().filter(|first| first.eligible && first.node_id != leader);
    match first {
        _ if led_by.excluded_by.iter().any(|why| why == "cordoned") => Some(format!(
            "{leader} would not be elected now ({excluded}); a cordoned node keeps what it leads"
        )),
        _ if !led_by.eligible => Some(format!("{leader} would not be elected now ({excluded})")),
        Some(first) if first.priority > led_by.priority => Some(format!(
            "{} has a higher priority ({} against {}); a leader is not replaced for that, a transfer does it",
            first.node_id, first.priority, led_by.priority
        )),
        Some(_) | None => None,
    }
}

fn order_words(order: &pb::LeadershipOrder) -> String {
    match order.verb() {
        Verb::Transfer => format!("transfer to {}", order.to),
        Verb::StepDown => "step down".to_owned(),
        Verb::Delete => "delete the scope".to_owned(),
        Verb::Unspecified => "nothing".to_owned(),
    }
}

/// Why no node but `leader` may lead, such as `no node may lead it: 1 cordoned, 2 role`.
fn why_nobody(candidates: &[pb::LeadershipCandidate], leader: &str) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for other in candidates.iter().filter(|candidate| candidate.node_id != leader) {
        *counts.entry(other.excluded_by.first().map_or("", String::as_str)).or_default() += 1;
    }
    let counted: Vec<_> = counts
        .iter()
        .map(|(why, count)| match *why {
            "node" | "role" | "region" | "zone" | "labels" => format!("{count} by {why}"),
            how => format!("{count} {how}"),
        })
        .collect();
    let who = if leader.is_empty() { "no node may lead it" } else { "no other node may lead it" };
    if counted.is_empty() {
        format!("{who}: there is none")
    } else {
        format!("{who}: {}", counted.join(", "))
    }
}

/// Remainder of a drain: each of these scopes, with what keeps it at the node that leads it.
pub fn drain_remainders(view: &View, leader: &str, scopes: Vec<String>) -> Vec<pb::DrainRemainder> {
    let roster = PeerRoster::of(view);
    let nodes = roster.nodes();
    let blocked = |scope: &str| {
        let known = ScopeState::find(view, scope)?;
        let policy = known.policy();
        let other = nodes.iter().any(|node| node.id != leader && policy.exclusions(node).is_empty());
        (!other).then(|| why_nobody(&candidates(&known, &nodes), leader))
    };
    let remainder =
        |scope: String| pb::DrainRemainder { blocked_by: blocked(&scope).unwrap_or_default(), scope };
    scopes.into_iter().map(remainder).collect()
}

/// Exclusions by which a node may not lead a scope now; empty when it may.
pub(super) fn exclusions_of(view: &View, known: &ScopeState, node_id: &str) -> Option<Vec<LeaderExclusion>> {
    let roster = PeerRoster::of_one(view, node_id);
    roster.nodes().first().map(|node| known.policy().exclusions(node))
}
