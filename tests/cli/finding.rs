//! What the daemon of the stub finds of its mesh.

use serde_json::{Value, json};

/// What a daemon finds of that mesh: a fault, and a warning that one node alone saw.
fn found() -> Value {
    let row = |id: &str, result: &str, message: &str, hint: &str, [seen_by, about]: [&[&str]; 2]| {
        json!({
            "id": id, "description": "the store is set up as it should be", "result": result, "message": message, "hint": hint,
            "page": format!("reference/checks.md#{id}"), "seenBy": seen_by, "about": about,
        })
    };
    let suspect = row(
        "membership-suspect",
        "warn",
        "suspect: relay-b119",
        "omnirelay mesh peers status relay-b119",
        [&[], &["relay-b119"]],
    );
    let reached = row(
        "transport-reached",
        "warn",
        "not reached: relay-c0de from relay-a7f3",
        "omnirelay mesh peers ping relay-c0de",
        [&["relay-a7f3"], &["relay-c0de"]],
    );
    let led = row(
        "leadership-led",
        "fail",
        "nobody leads shard/orders/04",
        "omnirelay mesh leaders explain shard/orders/04",
        [&[], &[]],
    );
    let store = row("registry-store", "pass", "the embedded store answers", "", [&["relay-a7f3"], &[]]);
    let settings = row("registry-settings", "skip", "the daemon does not say", "", [&[], &[]]);
    let dead = row("membership-dead", "pass", "no peer is dead", "", [&[], &[]]);
    let category = |name: &str, checks: Value| json!({"name": name, "checks": checks});
    json!({
        "success": false, "summary": {"pass": 2, "warn": 2, "fail": 1, "skip": 1},
        "categories": [
            category("registry", json!([store, settings])),
            category("membership", json!([suspect, dead])),
            category("transport", json!([reached])),
            category("nodes", json!([row("nodes-answer", "pass", "1 other live node answered", "", [&["relay-c0de"], &[]])])),
            category("leadership", json!([led])),
        ],
        "nodes": [
            {
                "nodeId": "relay-a7f3", "by": "itself", "version": "0.9.1", "ready": true, "clockAheadMs": "-4",
                "diskFreeBytes": "13421772800", "worst": "pass",
            },
            {
                "nodeId": "relay-c0de", "by": "mesh", "tookMs": 2, "version": "0.9.0", "ready": true, "storeSilentMs": 1200,
                "clockAheadMs": "260", "certificateEndsAt": "2026-11-21T03:01:00Z", "diskFreeBytes": "52428800",
                "wrong": ["transport-reached"], "worst": "warn",
            },
        ],
    })
}

/// Answer of what is judged at this path: the mesh, or its limits.
pub(crate) fn judged(path: &str) -> Value {
    if path.ends_with("/capacity") { limits() } else { found() }
}

/// How much is used of some limits: one that is enforced and near, one that is not set, and one whose highest second was near.
fn limits() -> Value {
    let limit = |name: &str, unit: &str, used: u64, judged: u64, added: i64| {
        json!({
            "name": name, "unit": unit, "counts": "", "scope": "mesh", "mode": "off", "level": "clear",
            "used": used.to_string(), "peak": judged.to_string(), "added": added.to_string(), "refused": "0",
            "setting": format!("limits.{name}.max"), "judged": judged.to_string(),
        })
    };
    let mut peers = limit("peers", "peers", 42, 42, 6);
    (peers["mode"], peers["level"]) = ("enforce".into(), "near".into());
    (peers["max"], peers["percent"]) = ("50".into(), 84.into());
    let mut calls = limit("calls", "calls/s", 12, 95, 40_210);
    (calls["mode"], calls["level"], calls["scope"]) = ("observe".into(), "near".into(), "node".into());
    (calls["max"], calls["percent"]) = ("100".into(), 95.into());
    let bytes = limit("bytes", "bytes", 1_048_576, 1_048_576, 4096);
    json!({"limits": [peers, bytes, calls], "watchedMs": "3600000"})
}
