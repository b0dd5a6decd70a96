//! What the stub answers of the store and of snapshots.

use serde_json::json;

use crate::stub::{Reply, Request, answer, problem};

/// Another master of the store, or who could be one.
fn switched(body: &str) -> Reply {
    let dry_run = body.contains("\"dryRun\":true");
    if body.contains("redis-3") {
        return problem("failed_precondition", "MASTER_DIFFERS", 409);
    }
    let (to, paused) = if dry_run { ("", 0) } else { ("redis-2:6379", 1130) };
    Reply::Json(
        200,
        json!({
            "schemaVersion": "v1", "changed": true, "dryRun": dry_run, "from": "redis-1:6379", "to": to,
            "standbys": [{"address": "redis-2:6379", "behindBytes": "14"}], "pausedMs": paused,
        }),
    )
}

pub(crate) fn store(request: &Request, path: &str) -> Reply {
    match path {
        "/control/store:giveUpLost" => given_up(&request.body),
        "/control/store:resetClock" => clock_reset(&request.body),
        _ => switched(&request.body),
    }
}

fn given_up(body: &str) -> Reply {
    let dry_run = body.contains("\"dryRun\":true");
    Reply::Json(
        200,
        json!({
            "schemaVersion": "v1", "cursor": "1-48214", "changed": true, "dryRun": dry_run,
            "changes": ["namespace: 1", "shard: 64"],
        }),
    )
}

fn clock_reset(body: &str) -> Reply {
    let dry_run = body.contains("\"dryRun\":true");
    Reply::Json(
        200,
        json!({
            "schemaVersion": "v1", "changed": true, "dryRun": dry_run, "aheadMs": "108000000",
            "before": "2026-11-21T12:01:00Z", "now": "2026-11-20T06:01:00Z",
        }),
    )
}

/// A mesh of one namespace, which is saved, and put back but for what does not count.
pub(crate) fn snapshots(body: &str, path: &str) -> Reply {
    match path {
        "/control/snapshot" => {
            let head = json!({"head": {"schemaVersion": "v1", "takenAt": "2026-11-20T06:01:00Z", "clusterId": "eu-1",
                                       "localNodeId": "relay-a7f3", "cursor": "7f2c:48212", "version": "0.2.9",
                                       "records": "1"}});
            let record = json!({"record": {"kind": "namespace", "key": "orders", "value": "CgA=", "version": "3",
                                           "revision": "48100", "writer": "relay-a7f3"}});
            Reply::Text(200, "application/x-ndjson", format!("{head}\n{record}\n"))
        }
        _ => {
            let dry_run = body.contains("\"dryRun\":true");
            let why = "a daemon knows a newer one";
            let refused = json!({"kind": "binding", "key": "operator:ann", "why": why});
            let foreign = if body.contains("refused") { vec![refused] } else { Vec::new() };
            answer(json!({"cursor": "7f2c:48300", "changed": true, "dryRun": dry_run, "restored": 1,
                          "refusedCount": foreign.len(), "refused": foreign}))
        }
    }
}
