//! What the stub says of clusters.

use serde_json::{Value, json};

use crate::stub::{After, Reply, Request, answer, changed, event, problem};

fn east() -> Value {
    json!({
        "clusterId": "eu-1", "region": "eu-west", "state": "active", "priority": 0, "local": true,
        "replicationEndpoints": ["node-1.east.example:17420"], "owners": ["sre@acme"], "version": "1",
        "lastWriterId": "relay-a7f3", "createdAt": "2026-11-20T05:00:00Z", "updatedAt": "2026-11-20T05:00:00Z",
    })
}

fn west() -> Value {
    json!({
        "clusterId": "us-1", "region": "us-east", "state": "passive", "priority": 10, "local": false,
        "replicationEndpoints": ["node-1.west.example:17420", "node-2.west.example:17420"], "owners": ["sre@acme"],
        "changeTicket": "INC-4711", "annotations": {"tier": "1"},
        "trust": {"revocationsNumber": "7", "revocations": 2, "tokenKeys": 1, "changedAt": "2026-11-20T05:59:00Z"},
        "version": "3", "lastWriterId": "relay-a7f3", "createdAt": "2026-11-20T05:00:00Z",
        "updatedAt": "2026-11-20T05:31:00Z",
    })
}

/// A cluster that has said nothing yet, and is to be left alone.
fn north() -> Value {
    json!({
        "clusterId": "eu-2", "state": "maintenance", "priority": 0, "local": false, "replicationEndpoints": [],
        "owners": [], "maintenanceOrder": {"reason": "moves", "by": "operator:ann", "since": "2026-11-20T05:31:00Z"},
        "version": "2", "lastWriterId": "relay-a7f3", "createdAt": "2026-11-20T05:00:00Z",
        "updatedAt": "2026-11-20T05:31:00Z",
    })
}

/// Answers what is asked of clusters and of domains.
pub(crate) fn clusters(request: &Request, path: &str) -> Reply {
    if path.starts_with("/control/domains") {
        return domains(request, path);
    }
    let all = [east(), north(), west()];
    let named = path.strip_prefix("/control/clusters/");
    let known = named.and_then(|name| all.iter().find(|one| one["clusterId"] == *name));
    match (request.method.as_str(), named, known) {
        ("GET", None, _) if request.header("accept").is_some_and(|kind| kind.contains("event-stream")) => {
            let snapshot =
                all.iter().map(|one| event(&json!({"type": "snapshot", "cursor": "", "cluster": one})));
            let mut events: Vec<String> = snapshot.collect();
            events.push(event(&json!({"type": "synced", "cursor": "7f2c:48213", "prevCursor": ""})));
            events.push(event(&json!({
                "type": "modified", "cursor": "7f2c:48214", "prevCursor": "7f2c:48213",
                "time": "2026-11-20T06:01:09Z", "cluster": west(),
            })));
            Reply::Events(events, After::Stay)
        }
        ("GET", None, _) if request.path.contains("region=mars") => answer(json!({"clusters": []})),
        ("GET", None, _) if path.ends_with(":check") => answer(checked()),
        ("GET", None, _) => answer(json!({ "clusters": all })),
        ("GET", Some(_), Some(cluster)) => answer(json!({ "cluster": cluster })),
        ("PUT", Some(_), _) => changed(
            request,
            json!({"cluster": west(), "changes": ["priority: 10 -> 20", "changeTicket: INC-4711 -> INC-4712"]}),
        ),
        ("DELETE", Some(_), Some(cluster)) => {
            changed(request, json!({"cluster": cluster, "changes": ["cluster: us-1 -> none"]}))
        }
        _ => problem("not_found", "CLUSTER_NOT_FOUND", 404),
    }
}

/// A cluster that could take over of one domain, and not of another.
fn checked() -> Value {
    json!({
        "ready": false,
        "findings": [
            {"subject": "cluster/us-1", "check": "addresses", "state": "ok", "evidence": "2 addresses are known",
             "asOf": "2026-11-20T05:31:00Z", "command": ""},
            {"subject": "domain/ledger", "check": "follows", "state": "wrong",
             "evidence": "31 records would be deleted and 0 replaced: its active cluster may have lost what is here",
             "asOf": "2026-11-20T06:00:59Z", "command": "omnirelay mesh domains get ledger"},
            {"subject": "domain/mesh", "check": "followed by us-1", "state": "unknown",
             "evidence": "it does not follow from the daemon that was asked; others may serve it",
             "command": "omnirelay mesh domains get mesh"},
        ],
    })
}

/// A domain that this cluster is active for.
fn mesh() -> Value {
    json!({
        "domain": "mesh", "activeCluster": "eu-1", "activeHere": true, "version": "1@eu-1", "namespaces": [],
        "lineage": [{"version": "1@eu-1", "clusterId": "eu-1", "since": "7f2c:40000"}],
        "followers": [{"clusterId": "us-1", "durable": "7f2c:48211", "lagRevisions": "2", "heardAt": "2026-11-20T06:00:58Z",
                       "durableUntil": "2026-11-20T06:00:57Z"}],
        "recordVersion": "1", "lastWriterId": "relay-a7f3", "createdAt": "2026-11-20T05:00:00Z",
        "updatedAt": "2026-11-20T05:00:00Z",
    })
}

/// A domain that the other one is active for, and that waits for a word.
fn ledger() -> Value {
    json!({
        "domain": "ledger", "activeCluster": "us-1", "activeHere": false, "version": "2@us-1",
        "namespaces": ["billing", "ledger"],
        "lineage": [{"version": "2@us-1", "clusterId": "us-1", "since": "8a01:7"}],
        "replica": {
            "state": "braked", "since": "2026-11-20T05:59:00Z", "sourceCluster": "us-1", "applied": "8a00:411",
            "reason": "31 records would be deleted and 0 replaced: its active cluster may have lost what is here",
            "head": "8a01:9", "lagMs": 61000, "lagRevisions": "0", "heardAt": "2026-11-20T06:00:59Z",
            "comparedAt": "2026-11-20T05:00:00Z", "brakedDeletions": 31, "brakedReplacements": 0, "unknownKinds": [],
        },
        "followers": [], "recordVersion": "4", "lastWriterId": "relay-a7f3", "createdAt": "2026-11-20T05:00:00Z",
        "updatedAt": "2026-11-20T05:31:00Z",
    })
}

/// Answers what is asked of domains.
fn domains(request: &Request, path: &str) -> Reply {
    let all = [ledger(), mesh()];
    let named = path.strip_prefix("/control/domains/");
    let (name, verb) =
        named.and_then(|named| named.split_once(':')).unwrap_or((named.unwrap_or_default(), ""));
    let known = all.iter().find(|one| one["domain"] == *name);
    match (request.method.as_str(), named, verb, known) {
        ("GET", None, ..) => answer(json!({ "domains": all })),
        ("GET", _, _, Some(domain)) => answer(json!({ "domain": domain })),
        ("PUT", ..) => changed(request, json!({"domain": mesh(), "changes": ["active: none -> eu-1"]})),
        ("POST", _, "approve", Some(domain)) if name == "ledger" => {
            let changes = ["approved: none -> 31 deletions and 0 replacements"];
            changed(request, json!({"domain": domain, "changes": changes}))
        }
        ("POST", _, "approve", Some(_)) => problem("failed_precondition", "DOMAIN_NOT_BRAKED", 409),
        ("POST", _, "heal", Some(_)) => {
            changed(request, json!({"added": 31, "replaced": 2, "kept": 14, "onlyHere": 0}))
        }
        _ => problem("not_found", "DOMAIN_NOT_FOUND", 404),
    }
}
