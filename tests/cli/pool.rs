//! The registers and the operations of the mesh that the stub serves.

use serde_json::{Value, json};

use crate::stub::{After, Reply, Request, answer, event, problem};

/// What a resync of the mesh comes to, by what is asked for: of the catalogue, in full, of a file, to another pool.
pub(crate) const UNCHANGED: &str = "op_01JD8Z4Q6W000UNCHANGED0000";
pub(crate) const SYNCED: &str = "op_01JD8Z4Q6W00000SYNCED00000";
pub(crate) const PARTIAL: &str = "op_01JD8Z4Q6W0000PARTIAL00000";
pub(crate) const DEFERRED: &str = "op_01JD8Z4Q6W000DEFERRED00000";

/// An operation that is `done` of 101.
pub(crate) fn operation(id: &str, state: &str, done: u32, counts: Value) -> Value {
    let mut operation = json!({
        "operationId": id, "nodeId": "relay-a7f3", "action": "registers.resync", "state": state,
        "requestedBy": "local", "reason": "", "startedAt": "2026-11-20T06:00:50Z", "done": done.to_string(),
        "total": "101", "message": "", "counts": counts, "failures": [], "cancelRequested": false,
    });
    if state != "running" && state != "pending" {
        operation["finishedAt"] = "2026-11-20T06:00:57.900Z".into();
    }
    operation
}

/// An operation as it goes on: half done, and what it is doing in words.
pub(crate) fn running(id: &str) -> Value {
    let mut operation = operation(id, "running", 50, json!({"added": "2", "failed": "0"}));
    operation["message"] = "batch 1/2".into();
    operation
}

/// How an operation ends.
pub(crate) fn ended(id: &str) -> Value {
    let counts = |added: u32, failed: u32, deferred: u32| {
        json!({
            "processed": "101", "added": added.to_string(), "updated": "1", "removed": "1",
            "unchanged": (99 - added - failed).to_string(), "failed": failed.to_string(),
            "deferred": deferred.to_string(),
        })
    };
    match id {
        UNCHANGED => operation(id, "succeeded", 101, json!({"processed": "101", "unchanged": "101"})),
        PARTIAL => {
            let mut operation = operation(id, "partial", 101, counts(3, 1, 0));
            operation["failures"] = json!([{
                "object": "reg-orders-eu", "reason": "STORE_UNAVAILABLE",
                "message": "the store did not answer within 400ms; nothing was changed",
            }]);
            operation
        }
        DEFERRED => operation(id, "partial", 101, counts(3, 0, 3)),
        _ => operation(id, "succeeded", 101, counts(3, 0, 0)),
    }
}

/// An event of an operation's watch.
pub(crate) fn operation_event(kind: &str, operation: &Value) -> String {
    event(&json!({"type": kind, "operation": operation}))
}

/// What a dry run of the mesh's resync answers.
pub(crate) fn plan(full: bool) -> Value {
    let change =
        |action: &str, id: &str, detail: &str| json!({"action": action, "registerId": id, "detail": detail});
    let mut changes =
        vec![change("add", "reg-new-1", ""), change("update", "reg-orders-eu", "latestVersion: 16 -> 17")];
    if full {
        changes.push(change("remove", "reg-legacy-07", "not in the catalogue"));
    }
    json!({
        "schemaVersion": "v1", "dryRun": true,
        "plan": {
            "target": "local", "add": 1, "update": 1, "keep": 99, "remove": u32::from(full), "remote": 214,
            "changes": changes,
        },
    })
}

/// The answer to a resync that has begun.
pub(crate) fn begun(id: &str) -> Reply {
    let mut answer = plan(false);
    answer["dryRun"] = false.into();
    answer["operation"] = operation(id, "pending", 0, json!({}));
    Reply::Json(200, answer)
}

fn resync(request: &Request) -> Reply {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let full = body["full"] == true;
    match (body["dryRun"] == true, full, body["fromFile"] == true, body["peer"].is_string()) {
        (true, ..) => Reply::Json(200, plan(full)),
        (_, _, true, _) => begun(PARTIAL),
        (_, _, _, true) => begun(DEFERRED),
        (_, true, ..) => begun(SYNCED),
        (_, false, ..) => begun(UNCHANGED),
    }
}

fn available(id: &str, sources: &[&str], state: &str) -> Value {
    json!({
        "registerId": id, "name": "Orders", "description": "Orders of the EU", "peerCount": sources.len(),
        "latestVersion": "17", "latestDocketVersion": "9007199254740993", "isPublic": true,
        "fullReplicaPeerCount": 1, "sources": sources, "syncState": state,
        "expiresAt": "2026-11-20T06:05:00Z",
    })
}

pub(crate) fn advertisement(id: &str, source: &str, version: u32) -> Value {
    json!({
        "registerId": id, "source": source, "producer": "catalogue", "name": "Orders", "description": "",
        "isPublic": true, "latestVersion": version.to_string(), "latestDocketVersion": "4", "syncState": "active",
        "timestamp": format!("2026-11-20T06:00:{version}Z"), "expiresAt": "2026-11-20T06:05:00Z",
        "version": "2", "lastWriterId": source,
    })
}

fn advertisement_events() -> Vec<String> {
    let (eu, us) =
        (advertisement("reg-orders", "relay-a7f3", 16), advertisement("reg-orders", "relay-b119", 16));
    let change = |kind: &str, from: u32, advertisement: Value| {
        json!({
            "type": kind, "cursor": format!("7f2c:{}", from + 1), "prevCursor": format!("7f2c:{from}"),
            "time": "2026-11-20T06:01:09Z", "advertisement": advertisement,
        })
    };
    [
        json!({"type": "snapshot", "cursor": "", "advertisement": eu}),
        json!({"type": "snapshot", "cursor": "", "advertisement": us}),
        json!({"type": "synced", "cursor": "7f2c:48213", "prevCursor": ""}),
        change("modified", 48213, advertisement("reg-orders", "relay-b119", 17)),
        change("removed", 48214, eu),
    ]
    .iter()
    .map(event)
    .collect()
}

/// The state of a node's pools: its own is right, another one has drifted unless `is_well`.
pub(crate) fn sync_state(is_well: bool) -> Value {
    let target = |name: &str, status: &str| {
        json!({
            "target": name, "status": status, "lastSuccessAt": "2026-11-20T06:00:30Z",
            "lastAttemptAt": "2026-11-20T06:00:30Z", "error": "", "registerCount": 98,
            "lastRun": {"processed": 98, "added": 0, "updated": 1, "removed": 0, "unchanged": 97, "failed": 0, "deferred": 0},
            "drifted": if status == "drift" { 60 } else { 0 }, "nextRunAt": "2026-11-20T06:01:30Z", "failures": 0,
            "runs": "12", "runsUnchanged": "11",
        })
    };
    let mut targets = vec![target("local", "success")];
    if !is_well {
        targets.push(target("http://peer-service:8080", "drift"));
    }
    json!({
        "targets": targets, "registers": 101, "advertise": 98, "local": 98, "remote": 214, "unverified": 2,
        "deferred": 0,
    })
}

/// What two nodes say of one register.
fn advertisements() -> Vec<Value> {
    let of = |source: &str, state: &str| {
        json!({
            "registerId": "reg-orders", "source": source, "producer": "catalogue", "name": "orders", "description": "",
            "isPublic": true, "latestVersion": "17", "latestDocketVersion": "4", "syncState": state,
            "timestamp": "2026-11-20T05:31:00Z", "expiresAt": "2026-11-20T06:01:44Z",
            "version": "2", "lastWriterId": source,
        })
    };
    vec![of("relay-a7f3", "active"), of("relay-b119", "fully_replicated")]
}

/// What the mesh answers below `/control/registers` and `/control/advertisements`.
pub(crate) fn registers(request: &Request, path: &str) -> Reply {
    let found = [
        available("reg-archive", &["relay-b119"], "unverified"),
        available("reg-orders", &["relay-a7f3", "relay-b119"], "active"),
    ];
    match (request.method.as_str(), path) {
        ("GET", "/control/registers/available") if request.path.contains("source=nobody") => {
            answer(json!({"nextPageToken": "", "totalSize": 0, "registers": []}))
        }
        ("GET", "/control/registers/available") => {
            answer(json!({"nextPageToken": "", "totalSize": 2, "registers": found}))
        }
        ("GET", "/control/advertisements")
            if !request.header("accept").is_some_and(|kind| kind.contains("event-stream")) =>
        {
            answer(json!({"nextPageToken": "", "totalSize": 2, "advertisements": advertisements()}))
        }
        ("GET", "/control/advertisements") => Reply::Events(advertisement_events(), After::Stay),
        ("POST", "/control/registers/bulk-advertise") => Reply::Json(
            200,
            json!({
                "processed": 2, "added": 1, "updated": 0, "removed": 0, "unchanged": 1, "failed": 0, "results": [],
                "deferred": 0,
            }),
        ),
        (method, "/control/registers/reg-orders/advertise") => Reply::Json(
            200,
            json!({
                "registerId": "reg-orders", "isPublic": method == "POST", "changed": true, "deferred": false,
            }),
        ),
        ("GET", "/control/registers:syncState") => answer(sync_state(true)),
        ("POST", "/control/registers:resync") => resync(request),
        _ => crate::catalogue::registers(request, path),
    }
}

/// What the mesh answers below `/control/operations`.
pub(crate) fn operations(request: &Request, path: &str) -> Reply {
    let id = path.trim_start_matches("/control/operations").trim_start_matches('/');
    let watches = request.header("accept").is_some_and(|kind| kind.contains("event-stream"));
    match (request.method.as_str(), id) {
        ("GET", "") if request.path.contains("state=pending") => answer(json!({"operations": []})),
        ("GET", "") => answer(json!({"operations": [running(SYNCED), ended(PARTIAL)]})),
        ("GET", id) if !id.starts_with("op_01JD8Z4Q6W") => problem("not_found", "OPERATION_NOT_FOUND", 404),
        ("GET", id) if watches => {
            let events =
                vec![operation_event("snapshot", &running(id)), operation_event("finished", &ended(id))];
            Reply::Events(events, After::Close)
        }
        ("GET", id) => answer(json!({ "operation": ended(id) })),
        ("POST", id) => {
            let id = id.trim_end_matches(":cancel");
            let dry = request.body.contains("\"dryRun\":true");
            let operation = if id == SYNCED { running(id) } else { ended(id) };
            let changed = id == SYNCED;
            Reply::Json(
                200,
                json!({"schemaVersion": "v1", "changed": changed, "dryRun": dry, "operation": operation}),
            )
        }
        _ => problem("not_found", "OPERATION_NOT_FOUND", 404),
    }
}
