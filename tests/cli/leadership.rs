//! The scopes of the mesh that the stub serves: two that are led, one that is not.

use serde_json::{Value, json};

use crate::stub::{After, Reply, Request, answer, event, problem};

/// A scope that `leader` leads; nobody does when it is empty.
pub(crate) fn scope(name: &str, leader: &str) -> Value {
    let kind = if name.starts_with("shard/") { "shard" } else { "global" };
    let mut scope = json!({
        "scope": name, "scopeKind": kind, "labels": {"team": "mesh"},
        "policy": {
            "eligible": {"nodes": [], "roles": ["worker"], "regions": [], "zones": [], "selector": ""},
            "prefer": [{"nodes": {"nodes": [], "roles": [], "regions": ["eu"], "zones": [], "selector": ""},
                        "priority": 10}],
        },
        "leaderId": leader, "term": "17", "fenceToken": "1795155506946", "electedAt": "2026-11-18T06:01:00Z",
        "reason": if leader.is_empty() { "lease_expired" } else { "created" }, "correlationId": "c-17",
        "previousLeaderId": if leader.is_empty() { "relay-b119" } else { "" }, "electionsLastHour": 0,
        "version": "41", "updatedAt": "2026-11-18T06:01:00Z", "lastWriterId": "relay-a7f3",
    });
    if leader.is_empty() {
        scope["vacantSince"] = "2026-11-20T06:00:30Z".into();
        scope["electionsLastHour"] = 2.into();
    } else {
        scope["renewedAt"] = "2026-11-20T06:00:59.400Z".into();
        scope["expiresAt"] = "2026-11-20T06:01:01.400Z".into();
    }
    scope
}

fn scopes() -> [Value; 3] {
    [
        scope("global-control", "relay-a7f3"),
        scope("shard/orders/03", "relay-c0de"),
        scope("shard/orders/04", ""),
    ]
}

fn token(scope: &Value) -> Value {
    json!({
        "scope": scope["scope"], "scopeKind": scope["scopeKind"], "leaderId": scope["leaderId"],
        "term": scope["term"], "fenceToken": scope["fenceToken"], "issuedAt": scope["renewedAt"],
        "expiresAt": scope["expiresAt"], "labels": scope["labels"],
    })
}

/// A tenure of 6 hours and 5 minutes, which has ended if a reason is given.
pub(crate) fn tenure(scope: &str, leader: &str, term: &str, end_reason: &str) -> Value {
    let mut tenure = json!({
        "scope": scope, "leaderId": leader, "term": term, "fenceToken": format!("17951555074{term}"),
        "electedAt": "2026-11-19T23:56:00Z", "reason": "lease_expired", "correlationId": "c-6",
        "leaderlessMs": "1900", "end": "unspecified", "endReason": end_reason,
    });
    if !end_reason.is_empty() {
        tenure["endedAt"] = "2026-11-20T06:01:00Z".into();
        tenure["end"] = "stepped_down".into();
    }
    tenure
}

/// The answer of a change, of which `scope` is what is there afterwards.
pub(crate) fn change(request: &Request, changed: bool, scope: &Value, lines: &[&str]) -> Reply {
    let dry = request.body.contains("\"dryRun\":true") || request.path.contains("dryRun=true");
    Reply::Json(
        200,
        json!({
            "schemaVersion": "v1", "cursor": "7f2c:48241", "changed": changed, "dryRun": dry,
            "leadership": scope, "changes": lines,
        }),
    )
}

/// The scope after `leader` got it from `previous`.
pub(crate) fn handed(leader: &str, previous: &str, leaderless_ms: &str) -> Value {
    let mut scope = scope("global-control", leader);
    scope["previousLeaderId"] = previous.into();
    scope["term"] = "18".into();
    scope["fenceToken"] = "1795155507427".into();
    scope["leaderlessMs"] = leaderless_ms.into();
    scope
}

/// What the daemon says below `/control/leaders`.
pub(crate) fn leaders(request: &Request, path: &str) -> Reply {
    let all = scopes();
    let watches = request.header("accept").is_some_and(|kind| kind.contains("event-stream"));
    match (request.method.as_str(), path.strip_prefix("/control/leaders").unwrap()) {
        ("GET", "") if watches => Reply::Events(events(), After::Stay),
        ("GET", "") => {
            let asked = |scope: &&Value| {
                let name = scope["scope"].as_str().unwrap().replace('/', "%2F");
                !request.path.contains("scope=") || request.path.contains(&format!("scope={name}"))
            };
            let found: Vec<Value> = all.iter().filter(asked).cloned().collect();
            let led = found.iter().filter(|scope| scope["leaderId"] != "");
            let tokens: Vec<Value> = led.map(token).collect();
            answer(json!({
                "nextPageToken": "", "totalSize": found.len(), "tokens": tokens, "scopes": found,
            }))
        }
        ("GET", ":history") => answer(json!({"tenures": [
            tenure("shard/orders/04", "relay-b119", "7", ""),
            tenure("shard/orders/04", "relay-c0de", "6", "drained"),
        ]})),
        ("PUT", "/shard/orders/03") => change(request, true, &all[1], &["eligible.roles: worker -> control"]),
        ("GET", "/global-control:explain") => answer(json!({"candidates": [
            {"nodeId": "relay-c0de", "leads": false, "eligible": true, "excludedBy": [], "priority": 0, "rank": 1},
            {"nodeId": "relay-a7f3", "leads": true, "eligible": false, "excludedBy": ["zone"], "priority": 10,
             "rank": 0},
        ]})),
        ("GET", "/shard/orders/03:explain") => answer(json!({"candidates": [
            {"nodeId": "relay-c0de", "leads": true, "eligible": false, "excludedBy": ["role"], "priority": 0,
             "rank": 0},
        ]})),
        ("GET", "/shard/orders/04:explain") => answer(explained(&all[2])),
        ("POST", "/global-control:transfer") => change(
            request,
            true,
            &handed("relay-c0de", "relay-a7f3", "0"),
            &["leader: relay-a7f3 -> relay-c0de"],
        ),
        ("POST", "/global-control:stepDown") => {
            change(request, true, &handed("relay-c0de", "relay-a7f3", "340"), &["leader: relay-a7f3 -> -"])
        }
        ("PUT", "/jobs/taken") => problem("aborted", "VERSION_CONFLICT", 409),
        ("PUT", "/jobs/nightly") => change(request, true, &scope("jobs/nightly", ""), &["created"]),
        ("PUT", "/global-control") => change(request, true, &all[0], &["eligible.zones: (all) -> a"]),
        ("DELETE", "/jobs/nightly") => change(request, true, &scope("jobs/nightly", ""), &["deleted"]),
        ("GET", path) => match all.iter().find(|scope| path[1..] == *scope["scope"].as_str().unwrap()) {
            Some(found) => answer(json!({ "leadership": found })),
            None => problem("not_found", "SCOPE_NOT_FOUND", 404),
        },
        _ => problem("not_found", "SCOPE_NOT_FOUND", 404),
    }
}

fn explained(scope: &Value) -> Value {
    json!({
        "leadership": scope,
        "because": ["Nobody leads it since the lease of relay-b119 ran out.", "relay-a7f3 campaigns next."],
        "candidates": [
            {"nodeId": "relay-a7f3", "leads": false, "eligible": true, "excludedBy": [], "priority": 10, "rank": 1},
            {"nodeId": "relay-b119", "leads": false, "eligible": false, "excludedBy": ["suspect"],
             "priority": 0, "rank": 0},
            {"nodeId": "relay-c0de", "leads": false, "eligible": false, "excludedBy": ["cordoned", "role"],
             "priority": -5, "rank": 0},
        ],
    })
}

fn events() -> Vec<String> {
    let mut events: Vec<String> = scopes()
        .iter()
        .map(|scope| event(&json!({"type": "snapshot", "cursor": "", "leadership": scope})))
        .collect();
    events.push(event(&json!({"type": "synced", "cursor": "7f2c:48240", "prevCursor": ""})));
    events.push(elected(48241));
    events
}

/// `relay-b119` is elected, after `relay-c0de`.
pub(crate) fn elected(revision: u32) -> String {
    let mut scope = scope("shard/orders/04", "relay-b119");
    scope["previousLeaderId"] = "relay-c0de".into();
    event(&json!({
        "type": "elected", "cursor": format!("7f2c:{revision}"), "prevCursor": format!("7f2c:{}", revision - 1),
        "time": "2026-11-20T06:02:11Z", "leadership": scope,
        "tenure": tenure("shard/orders/04", "relay-b119", "7", ""),
    }))
}
