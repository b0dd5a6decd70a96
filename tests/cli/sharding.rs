//! The namespace of the mesh that the stub serves: four shards, one of them between two owners, and a plan.

use serde_json::{Value, json};

use crate::stub::{After, Reply, Request, answer, event, problem};

const PLAN: &str = "plan_19a2b3c4d5e000001";

fn shard(id: &str, owner: &str, status: &str, target: &str) -> Value {
    json!({
        "namespace": "orders", "shardId": id, "strategyId": "rendezvous", "ownerNodeId": owner, "leaderId": owner,
        "capacityHint": 0.0, "status": status, "version": "3", "checksum": "15E2AF789EC4CFA2",
        "updatedAt": "2026-11-20T05:31:00Z", "changeTicket": "", "localityHint": "", "fenceToken": "1795155506946",
        "statusReason": if target.is_empty() { "" } else { "owner_leaves" }, "targetNodeId": target,
        "ownedSince": "2026-11-20T05:31:00Z", "mapVersion": "7", "planId": PLAN, "lastWriterId": "relay-a7f3",
    })
}

fn shards() -> [Value; 4] {
    [
        shard("0", "relay-a7f3", "active", ""),
        shard("1", "relay-b119", "draining", "relay-c0de"),
        shard("2", "relay-c0de", "active", ""),
        shard("3", "relay-a7f3", "active", ""),
    ]
}

fn map() -> Value {
    json!({"namespace": "orders", "version": "7", "checksum": "73517D8345209AF1", "shards": 4})
}

fn history(cause: &str) -> Value {
    json!({
        "actor": "alice", "reason": "kernel upgrade", "changeTicket": "INC-4711",
        "previousOwnerNodeId": "relay-b119", "planId": PLAN, "cause": cause,
    })
}

fn namespace() -> Value {
    json!({
        "namespace": "orders", "spec": {
            "strategyId": "rendezvous", "weights": {"relay-b119": 2.0}, "capacities": {},
            "policy": {"holders": ["service:orders"]},
        },
        "mapVersion": "7", "checksum": "73517D8345209AF1", "shards": 4, "ready": true, "made": 4, "deleting": false,
        "state": "draining", "stateReason": format!("plan {PLAN}: owners are to stop"),
        "stateSince": "2026-11-20T06:00:30Z", "planId": PLAN, "moving": 1, "unowned": 0, "imbalance": 1.5,
        "version": "12", "lastWriterId": "relay-a7f3", "createdAt": "2026-11-19T06:01:00Z",
        "updatedAt": "2026-11-20T06:00:30Z",
    })
}

fn plan(state: &str) -> Value {
    let begun = matches!(state, "running" | "paused" | "completed");
    let moved = |shard: &str, from: &str, progress: &str| json!({"shardId": shard, "from": from, "to": "relay-c0de", "cause": "owner_leaves", "progress": progress});
    let done = state == "completed";
    let mut plan = json!({
        "planId": PLAN, "namespace": "orders", "state": state, "stateReason": "", "stateSince": "2026-11-20T06:00:30Z",
        "author": "alice", "automatic": false, "reason": "kernel upgrade", "changeTicket": "INC-4711", "mapVersion": "6",
        "mapChecksum": "73517D8345209AF1", "strategyId": "", "weights": {}, "removed": ["relay-b119"], "forced": false,
        "summary": {
            "shards": 4, "moves": 2, "movedPercent": 50.0, "lowerBound": 2, "byChoice": 0, "byChoiceLimit": 1,
            "deferred": 0, "unplaced": 0, "imbalanceBefore": 1.5, "imbalanceAfter": 1.0,
        },
        "loads": loads(),
        "moves": [
            moved("1", "relay-b119", if done { "moved" } else if begun { "draining" } else { "pending" }),
            moved("2", "relay-b119", if begun { "moved" } else { "pending" }),
        ],
        "decisions": [{"what": "proposed", "by": "alice", "at": "2026-11-20T06:00:00Z", "reason": "kernel upgrade"}],
        "createdAt": "2026-11-20T06:00:00Z", "moved": if done { 2 } else { i32::from(begun) },
        "draining": i32::from(begun && !done),
        "waitsFor": if begun && !done { json!(["1 until relay-b119 has stopped"]) } else { json!([]) },
        "version": "3", "updatedAt": "2026-11-20T06:00:30Z", "lastWriterId": "relay-a7f3",
    });
    if begun {
        plan["startedAt"] = "2026-11-20T06:00:30Z".into();
    }
    if done {
        plan["endedAt"] = "2026-11-20T06:00:50Z".into();
    }
    plan
}

fn loads() -> Value {
    let load = |node: &str, before: u32, after: u32, why: &[&str]| {
        let standing = if why.is_empty() { "open" } else { "leaving" };
        let mut load = json!({
            "nodeId": node, "before": before, "after": after, "weight": 1.0, "standing": standing, "excludedBy": why,
        });
        if why.is_empty() {
            load["most"] = 3.into();
        }
        load
    };
    json!([
        load("relay-a7f3", 2, 2, &[]),
        load("relay-b119", 2, 0, &["removed"]),
        load("relay-c0de", 0, 2, &[]),
    ])
}

fn change(request: &Request, field: &str, object: &Value, changed: bool, lines: &[&str]) -> Reply {
    let dry = request.body.contains("\"dryRun\":true") || request.path.contains("dryRun=true");
    Reply::Json(
        200,
        json!({
            "schemaVersion": "v1", "cursor": "7f2c:48214", "changed": changed, "dryRun": dry, field: object,
            "changes": lines,
        }),
    )
}

/// A stream of a snapshot and one change, under the object's name.
fn stream(field: &str, before: &Value, after: Value) -> Reply {
    let mut snapshot = json!({"type": "snapshot", "cursor": ""});
    snapshot[field] = before.clone();
    let synced = json!({"type": "synced", "cursor": "7f2c:48213", "prevCursor": ""});
    let mut changed = json!({
        "type": "modified", "cursor": "7f2c:48214", "prevCursor": "7f2c:48213", "time": "2026-11-20T06:01:09Z",
    });
    changed[field] = after;
    if field == "current" {
        changed["position"] = "48214".into();
        changed["previous"] = before.clone();
        changed["history"] = history("owner_leaves");
    }
    Reply::Events(vec![event(&snapshot), event(&synced), event(&changed)], After::Stay)
}

/// What is asked of shards, namespaces and plans.
pub(crate) fn sharding(request: &Request, path: &str) -> Reply {
    let is_stream = request.header("accept").is_some_and(|kind| kind.contains("event-stream"));
    match (request.method.as_str(), path) {
        (_, path) if path.starts_with("/control/rebalance-plans") => plans(request, path, is_stream),
        ("GET", "/control/rebalance") if is_stream => {
            let mut after = namespace();
            after["state"] = "completed".into();
            after["stateReason"] = format!("plan {PLAN}").into();
            stream("namespace", &namespace(), after)
        }
        ("GET", "/control/rebalance") => answer(json!({ "namespaces": [namespace()] })),
        (_, path) if path.starts_with("/control/namespaces") => namespaces(request, path),
        ("GET", path) if is_stream && path.starts_with("/control/shards") => {
            stream("current", &shards()[1], shard("1", "relay-c0de", "active", ""))
        }
        (_, path) => of_shards(request, path),
    }
}

fn of_shards(request: &Request, path: &str) -> Reply {
    let [first, second, ..] = shards();
    match (request.method.as_str(), path) {
        ("GET", "/control/shards") if request.path.contains("search=nothing") => {
            answer(json!({"items": [], "nextCursor": "", "version": "7", "totalSize": 0, "maps": [map()]}))
        }
        ("GET", "/control/shards") => answer(json!({
            "items": shards(), "nextCursor": "", "version": "7", "totalSize": 4, "maps": [map()],
        })),
        ("GET", "/control/shards/orders/1") => {
            answer(json!({"shard": second, "history": history("owner_leaves"), "map": map()}))
        }
        ("GET", "/control/shards/orders:lookup") => {
            answer(json!({"shard": first, "number": 0, "map": map()}))
        }
        ("GET", "/control/shards/diff") => answer(json!({"lastPosition": "48213", "more": false, "items": [{
            "position": "48213", "type": "modified", "current": shard("2", "relay-c0de", "active", ""),
            "previous": shard("2", "relay-b119", "draining", "relay-c0de"), "history": history("owner_leaves"),
            "time": "2026-11-20T06:00:40Z",
        }]})),
        ("GET", "/control/shards/orders:loads") => answer(json!({"map": map(), "nodes": [
            {"nodeId": "relay-b119", "rank": 1, "score": 0.93, "overloaded": true, "standing": "cordoned", "shards": 1,
             "overSince": "2026-11-20T05:58:00Z", "at": "2026-11-20T06:00:00Z", "parts": [
                {"name": "pending", "value": 1200.0, "share": 1.0, "threshold": 1000.0, "over": true},
                {"name": "queue_depth", "value": 40.0, "share": 1.0, "over": false},
                {"name": "latency", "value": 81.25, "share": 1.0, "threshold": 100.0, "over": false},
                {"name": "errors", "value": 0.0075, "share": 0.75, "over": false}]},
            {"nodeId": "relay-a7f3", "rank": 2, "score": 0.31, "overloaded": false, "standing": "open", "shards": 2,
             "at": "2026-11-20T06:00:30Z", "parts": [
                {"name": "pending", "value": 12.0, "share": 0.01, "threshold": 1000.0, "over": false},
                {"name": "queue_depth", "value": 0.0, "share": 0.0, "over": false},
                {"name": "latency", "value": 20.0, "share": 0.25, "threshold": 100.0, "over": false},
                {"name": "errors", "value": 0.01, "share": 1.0, "over": false}]},
            {"nodeId": "relay-c0de", "rank": 0, "score": 0.0, "overloaded": false, "standing": "open", "shards": 1, "parts": []},
        ]})),
        ("GET", "/control/shards/orders:history") => answer(json!({"map": map(), "changes": [{
            "namespace": "orders", "version": "7", "checksum": "73517D8345209AF1", "at": "2026-11-20T06:00:40Z",
            "position": "48213", "actor": "alice", "reason": "kernel upgrade", "changeTicket": "INC-4711",
            "cause": "owner_leaves", "planId": PLAN, "changed": 1, "moved": 1, "movedPercent": 25.0,
            "summary": ["2: relay-b119 -> relay-c0de"],
        }]})),
        ("POST", "/control/shards/simulate") => answer(json!({
            "namespace": "orders", "strategyId": "rendezvous", "assignments": [], "map": map(),
            "changes": [{"namespace": "orders", "shardId": "1", "currentOwner": "relay-b119",
                "proposedOwner": "relay-c0de", "changesOwner": true, "cause": "owner_leaves"}],
            "summary": plan("proposed")["summary"], "loads": loads(), "warnings": ["relay-d44b is suspect, and gets nothing"],
        })),
        ("GET", "/control/shards/orders/1:explain") => answer(json!({
            "shard": second,
            "because": ["relay-b119 owns it, and may get no shards now", "relay-b119 is draining"],
            "candidates": [
                {"nodeId": "relay-c0de", "owns": false, "rank": 1, "distance": 0, "cost": "339617499370881",
                    "weight": 1.0, "shards": 1, "most": 3, "excludedBy": []},
                {"nodeId": "relay-b119", "owns": true, "rank": 0, "distance": 0, "weight": 1.0, "shards": 1,
                    "excludedBy": ["draining"]},
            ],
            "changes": [{
                "position": "48213", "type": "modified", "current": second, "previous": shard("1", "relay-b119", "active", ""),
                "history": history("owner_leaves"), "time": "2026-11-20T06:00:40Z",
            }],
        })),
        ("POST", "/control/shards/orders/1:pause") => change(
            request,
            "shard",
            &shard("1", "relay-b119", "paused", ""),
            true,
            &["status: active -> paused"],
        ),
        ("POST", "/control/shards/orders/1:resume") => change(request, "shard", &second, false, &[]),
        _ => problem("not_found", "SHARD_NOT_FOUND", 404),
    }
}

fn namespaces(request: &Request, path: &str) -> Reply {
    match (request.method.as_str(), path) {
        ("GET", "/control/namespaces") => answer(json!({"namespaces": [namespace()]})),
        ("GET", "/control/namespaces/orders") => answer(json!({"detail": namespace()})),
        ("POST", "/control/namespaces/orders") => {
            change(request, "detail", &namespace(), true, &["4 shards by rendezvous"])
        }
        ("PUT", "/control/namespaces/orders") if request.body.contains("\"selfApproval\":true") => {
            let line = "policy.selfApproval: - -> true";
            let mut waits = namespace();
            waits["pending"] = json!({
                "spec": {"strategyId": "rendezvous", "policy": {"selfApproval": true}}, "proposedBy": "operator:ann",
                "reason": "alone at night", "proposedAt": "2026-11-20T06:01:09Z", "expiresAt": "2026-11-21T06:01:09Z",
                "changes": [line], "lowers": ["policy.selfApproval"],
            });
            change(request, "detail", &waits, true, &[&format!("pending: {line}")])
        }
        ("PUT", "/control/namespaces/orders") => {
            change(request, "detail", &namespace(), true, &["weights.relay-b119: - -> 2.0"])
        }
        ("DELETE", "/control/namespaces/orders") => {
            change(request, "detail", &namespace(), true, &["deleted, with 4 shards"])
        }
        _ => problem("not_found", "NAMESPACE_NOT_FOUND", 404),
    }
}

fn plans(request: &Request, path: &str, is_stream: bool) -> Reply {
    let verb = path.strip_prefix(&format!("/control/rebalance-plans/{PLAN}")).unwrap_or_default();
    let told = |before: &str, after: &str| {
        let line = format!("state: {before} -> {after}");
        change(request, "plan", &plan(after), true, &[&line])
    };
    match (request.method.as_str(), path, verb) {
        ("GET", "/control/rebalance-plans", _) if is_stream => {
            stream("plan", &plan("running"), plan("completed"))
        }
        ("GET", "/control/rebalance-plans", _) => answer(json!({"plans": [plan("running")]})),
        ("POST", "/control/rebalance-plans", _) => {
            change(request, "plan", &plan("proposed"), true, &["1: relay-b119 -> relay-c0de (owner_leaves)"])
        }
        ("GET", _, "") if !verb.is_empty() || path.ends_with(PLAN) => {
            answer(json!({"plan": plan("completed")}))
        }
        ("POST", _, ":approve") => told("proposed", "approved"),
        ("POST", _, ":reject") => told("proposed", "rejected"),
        ("POST", _, ":apply") => told("approved", "running"),
        ("POST", _, ":pause") => told("running", "paused"),
        ("POST", _, ":resume") => told("paused", "running"),
        ("POST", _, ":cancel") => told("running", "cancelled"),
        _ => problem("not_found", "PLAN_NOT_FOUND", 404),
    }
}
