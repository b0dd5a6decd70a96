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

/// Answers what is asked of clusters.
pub(crate) fn clusters(request: &Request, path: &str) -> Reply {
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
