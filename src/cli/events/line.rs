//! Line about an event.

use crate::frame::prelude::*;
use crate::frame::watch::word;
use crate::relays::columns::address;
use crate::{agents, audit, leaders, peers};

/// `leadership.elected  leadership/global-control  node-2  term=6 ...  (leaders.transfer by local: rollout)`
pub(super) fn of(event: &Value) -> String {
    // That it has begun, where nothing was asked for from before.
    if word(event) == "synced" {
        return String::new();
    }
    let named = text(event, "type");
    let named = named.strip_prefix("omnirelay.").unwrap_or(named);
    let subject = Some(text(event, "subject")).filter(|subject| !subject.is_empty()).unwrap_or("-");
    format!("{named:<20}  {subject}  {}{}", what(event), cause(event))
}

/// Tells what has happened, without to what.
pub(crate) fn what(event: &Value) -> String {
    let data = |name| Some(field(field(event, "data"), name)).filter(|data| data.is_object());
    if let Some(peer) = data("peer") {
        let reason = Some(text(peer, "statusReason")).filter(|reason| !reason.is_empty());
        return reason
            .map_or_else(|| peers::summary(peer), |reason| format!("{} ({reason})", peers::summary(peer)));
    }
    if let Some(leadership) = data("leadership").or(data("tenure").and(Some(&Value::Null))) {
        // As a watch of leaders has it.
        let last = text(event, "type").rsplit('.').next().unwrap_or_default();
        let tenure = field(field(event, "data"), "tenure");
        return leaders::what(&json!({"type": last, "leadership": leadership, "tenure": tenure}));
    }
    if let Some(register) = data("register") {
        return format!("{} advertise={}", text(register, "name"), flag(register, "advertise"))
            .trim()
            .to_owned();
    }
    if let Some(advertisement) = data("advertisement") {
        return format!("from {}", text(advertisement, "source"));
    }
    if let Some(relay) = data("relay") {
        return address(relay);
    }
    if let Some(placement) = data("placement") {
        return agents::summary(placement);
    }
    if let Some(record) = data("record") {
        return audit::summary(record);
    }
    if let Some(need) = data("readiness") {
        return match text(need, "message") {
            "" => text(need, "name").to_owned(),
            message => format!("{}: {message}", text(need, "name")),
        };
    }
    if let Some(policy) = data("transportPolicy").or(data("joinPolicy")) {
        return format!("version={}", text(policy, "version"));
    }
    if let Some(limit) = data("limit") {
        let [used, max] = ["judged", "max"].map(|name| number(limit, name));
        return format!("{}: {used} of {max} {}", text(limit, "name"), text(limit, "unit"));
    }
    match word(event) {
        "reset" => format!("what happened before is not known any more: {}", text(event, "reason")),
        "progress" => format!("cursor: {}", text(event, "cursor")),
        _ => String::new(),
    }
}

/// Whose call it follows from.
fn cause(event: &Value) -> String {
    let (action, actor) = (text(event, "action"), text(event, "actor"));
    let named = text(event, "type");
    // Of what a node does by itself the type says all there is to say.
    let verb = action.rsplit('.').next().unwrap_or_default().replace('-', "_");
    if action.is_empty() || named.starts_with("omnirelay.audit.") || named.ends_with(&format!(".{verb}")) {
        return String::new();
    }
    let reason = Some(text(event, "reason")).filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("  ({action} by {actor}{reason})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_happened_to_what_and_who_had_it_done() {
        let cases = [
            (
                json!({
                    "type": "omnirelay.peers.modified", "subject": "peer/node-2", "action": "peers.cordon",
                    "actor": "local", "reason": "disk",
                    "data": {"peer": {"status": "alive", "cordoned": true, "metadata": {"role": "a", "clusterId": "c"}}},
                }),
                "peers.modified        peer/node-2  alive,cordoned role=a cluster=c  (peers.cordon by local: disk)",
            ),
            (
                json!({
                    "type": "omnirelay.leadership.expired", "subject": "leadership/global-control",
                    "data": {
                        "leadership": {"scope": "global-control"},
                        "tenure": {"leaderId": "node-1", "term": "4", "fenceToken": "9", "endReason": "lease_expired"},
                    },
                }),
                "leadership.expired    leadership/global-control  node-1  term=4 fence=9 cause=lease_expired",
            ),
            (
                json!({
                    "type": "omnirelay.store.degraded", "subject": "node/node-1",
                    "data": {"readiness": {"name": "store", "message": "the store has not answered"}},
                }),
                "store.degraded        node/node-1  store: the store has not answered",
            ),
            (
                json!({
                    "type": "omnirelay.transport-policy.modified", "subject": "transport-policy/mesh",
                    "action": "transport-policy.rollback", "actor": "local", "reason": "INC-7",
                    "data": {"transportPolicy": {"version": "4"}},
                }),
                "transport-policy.modified  transport-policy/mesh  version=4  (transport-policy.rollback by local: INC-7)",
            ),
            (
                json!({
                    "type": "omnirelay.limits.near", "subject": "node/node-1",
                    "data": {"limit": {"name": "joins", "used": "3", "judged": "8", "max": "10", "unit": "joins/min"}},
                }),
                "limits.near           node/node-1  joins: 8 of 10 joins/min",
            ),
            (
                json!({"type": "omnirelay.events.reset", "reason": "compacted"}),
                "events.reset          -  what happened before is not known any more: compacted",
            ),
        ];
        for (event, line) in cases {
            assert_eq!(of(&event), line);
        }
    }
}
