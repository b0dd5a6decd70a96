//! Rules that lower how many have to agree: they wait for somebody else, as a plan does under the rules of before.

use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_decisions::field_changes::field_changes;
use omnirelay_decisions::shards::eyes::fields_that_lower;
use omnirelay_decisions::shards::spec::NamespaceRules;
use omnirelay_nouns::timestamp;
use omnirelay_wire::pb::omnirelay::store::v1::NamespaceValue;

use super::pb;

/// How long a change of rules waits for somebody else.
const WAITS: Duration = Duration::from_secs(24 * 3600);

/// Poll on pending rules: who asks for them, when and why.
pub(crate) struct PendingRulesPoll<'a> {
    pub principal: &'a str,
    pub reason: &'a str,
    pub now: Millis,
    /// Whether who proposes may approve, where rules do not say.
    pub self_approval: bool,
}

/// Namespace as it becomes when its rules are to be these, and what of it changes, a line each.
///
/// The same, asked for by two, is what both want: who asks second approves.
pub(crate) fn decided(
    before: &NamespaceValue,
    wanted: &pb::NamespaceSpec,
    asking: &PendingRulesPoll<'_>,
) -> (NamespaceValue, Vec<String>) {
    let kept = before.spec.clone().unwrap_or_default();
    let mut changes = rule_changes(&kept.known(), &wanted.known());
    let mut after =
        NamespaceValue { spec: Some(wanted.clone().in_place_of(&kept)), pending: None, ..before.clone() };
    let waiting = before.pending.as_ref().filter(|pending| is_live(pending, asking.now));
    let same =
        waiting.filter(|pending| pending.spec.as_ref().is_some_and(|spec| spec.known() == wanted.known()));
    let (old, new) =
        (NamespaceRules::stored(before.spec.as_ref()).policy, NamespaceRules::stored(Some(wanted)).policy);
    let lowered = fields_that_lower(&old, &new, asking.self_approval);
    match (lowered.is_empty(), same) {
        (true, _) => {
            changes.extend(
                waiting.map(|pending| format!("pending: what {} asked for is dropped", pending.proposed_by)),
            );
        }
        (false, Some(pending)) if pending.proposed_by != asking.principal => {
            changes
                .push(format!("approved: asked for by {}, and by {}", pending.proposed_by, asking.principal));
        }
        // It waits already.
        (false, Some(_)) => return (before.clone(), Vec::new()),
        (false, None) => {
            let pending = pb::PendingRules {
                spec: Some(wanted.clone()),
                proposed_by: asking.principal.to_owned(),
                reason: asking.reason.to_owned(),
                proposed_at: Some(timestamp(asking.now)),
                expires_at: Some(timestamp(asking.now.after(WAITS))),
                changes: changes.clone(),
                lowers: lowered.iter().map(|field| format!("policy.{field}")).collect(),
                ..Default::default()
            };
            after = NamespaceValue { pending: Some(pending), ..before.clone() };
            changes = changes.iter().map(|line| format!("pending: {line}")).collect();
            changes.push(format!(
                "pending: until somebody else asks for the same, as {} asks for fewer approvals",
                lowered.join(", ")
            ));
        }
    }
    (after, changes)
}

/// What of rules changes, a line each. The policy comes first, and of each map of nodes only what there is room for: whoever names
/// many nodes hides nothing behind them.
fn rule_changes(before: &pb::NamespaceSpec, after: &pb::NamespaceSpec) -> Vec<String> {
    type Part = fn(pb::NamespaceSpec) -> pb::NamespaceSpec;
    let parts: [Part; 4] = [
        |spec| pb::NamespaceSpec { policy: spec.policy, ..Default::default() },
        |spec| pb::NamespaceSpec {
            policy: None,
            weights: Default::default(),
            capacities: Default::default(),
            ..spec
        },
        |spec| pb::NamespaceSpec { weights: spec.weights, ..Default::default() },
        |spec| pb::NamespaceSpec { capacities: spec.capacities, ..Default::default() },
    ];
    let of = |part: &Part| field_changes("", &part(before.clone()), &part(after.clone()));
    parts.iter().flat_map(of).collect()
}

/// Whether it may still be approved.
pub(crate) fn is_live(pending: &pb::PendingRules, now: Millis) -> bool {
    let now = timestamp(now);
    pending.expires_at.is_some_and(|end| (now.seconds, now.nanos) < (end.seconds, end.nanos))
}
