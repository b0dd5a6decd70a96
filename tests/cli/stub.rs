//! A daemon that says what a test wants, as a mesh with fixed times.

use serde_json::{Value, json};

use crate::authority::authority;
use crate::clusters::clusters;
use crate::finding::judged;
use crate::leadership::leaders;
use crate::pool::{operations, registers};
pub(crate) use crate::process::stub::{After, Reply, Request, Stub};
use crate::sharding::sharding;
use crate::stored::{snapshots, store};

/// A fault as the API states it.
pub(crate) fn problem(code: &str, reason: &str, status: u16) -> Reply {
    Reply::Json(
        status,
        json!({
            "type": "about:blank", "title": "t", "status": status, "code": code, "reason": reason,
            "message": format!("the daemon says {code}"), "hint": "do something else",
            "exitCode": 99, "retryable": matches!(code, "unavailable" | "resource_exhausted"),
            "requestId": "r-1", "details": [],
        }),
    )
}

/// One event of a stream.
pub(crate) fn event(document: &Value) -> String {
    let kind = document["type"].as_str().unwrap();
    let id = document["cursor"].as_str().filter(|id| !id.is_empty());
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {kind}\ndata: {document}\n\n")
}

/// A peer of the mesh that [`mesh`] serves.
pub(crate) fn peer(id: &str, status: &str, cordoned: bool) -> Value {
    // Whoever asks all nodes is to find no address that leads out of this machine.
    let is_other = id == "relay-c0de";
    let endpoints = if is_other { json!({}) } else { json!({"control": "10.0.2.7:17420"}) };
    json!({
        "nodeId": id, "status": status, "statusReason": "registered", "statusSince": "2026-11-20T06:00:46Z",
        "cordoned": cordoned, "draining": false, "lastSeen": "2026-11-20T06:00:58Z", "rttMs": 1.8,
        "metadata": {
            "role": "worker", "clusterId": "eu-1", "region": "eu-west-1", "zone": "eu-west-1b",
            "meshVersion": "0.9.3", "http3Support": false, "endpoints": endpoints,
            "metadataVersion": "1", "labels": {"tier": "std"},
        },
        "version": "9007199254740993", "lastWriterId": "relay-a7f3",
        "cordonReason": if cordoned { "disk errors" } else { "" },
        "createdAt": "2026-11-14T06:01:00Z", "updatedAt": "2026-11-20T06:00:46Z",
        "leads": if id == "relay-a7f3" { json!(["global-control"]) } else { json!([]) },
        "shards": if id == "relay-a7f3" { 42 } else { 0 },
    })
}

/// What Prometheus is to scrape of the mesh.
fn targets() -> Reply {
    let target = |node: &str, address: &str, more: Value| {
        let mut labels = json!({"mesh": "eu-1", "node": node});
        labels.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"targets": [address], "labels": labels})
    };
    let zoned = json!({
        "__meta_omnirelay_role": "worker", "__meta_omnirelay_zone": "eu-west-1b", "__meta_omnirelay_version": "0.9.3",
    });
    let all =
        [target("relay-a7f3", "10.0.2.7:17420", zoned), target("relay-b119", "10.0.2.9:17420", json!({}))];
    answer(json!({"targets": all}))
}

/// The head of an answer.
pub(crate) fn answer(mut rest: Value) -> Reply {
    let head = json!({
        "schemaVersion": "v1", "generatedAt": "2026-11-20T06:01:00Z", "localNodeId": "relay-a7f3",
        "cursor": "7f2c:48213", "stale": false,
    });
    let mut document = head.as_object().unwrap().clone();
    document.append(rest.as_object_mut().unwrap());
    Reply::Json(200, Value::Object(document))
}

fn dev_change(path: &str) -> Reply {
    dev(match path.rsplit(':').next() {
        Some("kill") => "killed",
        Some("pause") => "paused",
        _ => "running",
    })
}

/// Nodes that can be made to fail.
fn dev_request(method: &str, path: &str) -> Reply {
    match (method, path) {
        ("GET", "/control/dev/nodes") => dev_nodes(),
        ("POST", path) if path.starts_with("/control/dev/nodes/node-1:") => dev_change(path),
        _ => problem("not_found", "PEER_NOT_FOUND", 404),
    }
}

fn dev_nodes() -> Reply {
    let node = json!({"nodeId": "node-1", "state": "running", "control": "127.0.0.1:17420"});
    Reply::Json(200, json!({ "schemaVersion": "v1", "nodes": [node] }))
}

/// The peers of the stub.
fn mesh_peers() -> [Value; 3] {
    let ids =
        [("relay-a7f3", "alive", false), ("relay-b119", "suspect", false), ("relay-c0de", "alive", true)];
    ids.map(|(id, status, cordoned)| peer(id, status, cordoned))
}

/// A small mesh with fixed times, for what commands print.
pub(crate) fn mesh(request: &Request) -> Reply {
    let path = request.path.split('?').next().unwrap();
    let peers = mesh_peers();
    let change = |changed: bool, cordoned: bool, lines: &[&str]| {
        let dry = request.body.contains("\"dryRun\":true") || request.path.contains("dryRun=true");
        Reply::Json(
            200,
            json!({
                "schemaVersion": "v1", "cursor": "7f2c:48214", "changed": changed, "dryRun": dry,
                "peer": peer("relay-b119", "suspect", cordoned), "changes": lines,
            }),
        )
    };
    match (request.method.as_str(), path) {
        ("GET", "/control/peers")
            if request.header("accept").is_some_and(|kind| kind.contains("event-stream")) =>
        {
            Reply::Events(peer_events(&peers), After::Stay)
        }
        ("GET", "/control/peers") if request.path.contains("role=gateway") => {
            answer(json!({"nextPageToken": "", "totalSize": 0, "peers": []}))
        }
        ("GET", "/control/nothing") => problem("unimplemented", "ROUTE_UNKNOWN", 404),
        ("GET", "/control/peers") => answer(json!({"nextPageToken": "", "totalSize": 3, "peers": peers})),
        ("GET", "/control/node") => answer(json!({
            "clusterId": "eu-1", "version": env!("CARGO_PKG_VERSION"), "store": "embedded", "principal": "local",
            "scopes": ["mesh.read", "mesh.operate", "mesh.admin"], "ready": true,
            "readiness": [{"name": "store-settings", "ok": true}, {"name": "store-sentinels", "ok": true}, {"name": "history", "ok": true},
                {"name": "leaders-replicas", "ok": true}, {"name": "leaders-split", "ok": true}],
            "clientVersionMin": "0.1.0", "hostTime": "2026-11-20T06:01:00.012Z", "revocationsEnforcedNumber": "3",
        })),
        ("GET", "/control/check" | "/control/capacity") => answer(judged(path)),
        ("GET" | "POST", "/control/state-diff" | "/control/state-diff:reconcile") => {
            state_diff(request, path)
        }
        ("GET", "/control/lease-health" | "/control/round-trips" | "/control/targets") => of_nodes(path),
        (_, path) if is_of(&["audit", "snapshot"], path) => audit(request, path),
        ("GET", path) if path.starts_with("/control/events") => happenings(request),
        (_, path) if path.starts_with("/control/leaders") => leaders(request, path),
        (_, path) if is_of(&["registers", "advertisements"], path) => registers(request, path),
        (_, path) if path.starts_with("/control/operations") => operations(request, path),
        (_, path) if is_of(&["clusters", "domains"], path) => clusters(request, path),
        (_, path) if path.starts_with("/control/bindings") => bindings(request, path),
        (_, path) if is_of(&["shards", "namespaces", "rebalance"], path) => sharding(request, path),
        (_, path) if path.starts_with("/control/config") => config(request, path),
        (_, path) if is_of_identity(path) => identity(request, path),
        ("POST", path) if path.starts_with("/control/store:") => store(request, path),
        (method, path) if path.starts_with("/control/dev/nodes") => dev_request(method, path),
        ("POST", "/control/peers/relay-b119:cordon") => {
            change(true, true, &["cordoned: false -> true", "cordonReason: \"\" -> \"disk errors\""])
        }
        ("POST", "/control/peers/relay-b119:uncordon") => change(false, false, &[]),
        ("POST", "/control/peers/relay-b119:drain") => {
            change(true, true, &["cordoned: false -> true", "draining: false -> true"])
        }
        ("POST", "/control/peers/relay-b119:undrain") => change(true, false, &["draining: true -> false"]),
        ("GET", "/control/peers/relay-b119/drain") => drained(),
        ("GET", path) if path.ends_with("/ping") => pinged(path),
        ("GET", path) if path.ends_with("/explain") => explained(path),
        ("PATCH", "/control/peers/relay-b119/labels") => {
            change(true, false, &["label tier: \"std\" -> \"gold\""])
        }
        ("POST", "/control/peers/relay-b119:forceLeave") => change(true, true, &["status: suspect -> left"]),
        ("DELETE", "/control/peers/relay-b119") => change(true, false, &["forgotten"]),
        ("GET", path)
            if let Some(found) = peers.iter().find(|p| path.ends_with(p["nodeId"].as_str().unwrap())) =>
        {
            answer(json!({ "peer": found }))
        }
        _ => problem("not_found", "PEER_NOT_FOUND", 404),
    }
}

fn of_nodes(path: &str) -> Reply {
    match path.rsplit('/').next() {
        Some("round-trips") => round_trips(),
        Some("targets") => targets(),
        _ => lease_health(),
    }
}

/// Three records that differ from the store, or none from another node.
fn state_diff(request: &Request, path: &str) -> Reply {
    let side = |version: u32, writer: &str| {
        json!({"version": version.to_string(), "revision": "48190", "lastWriterId": writer, "updatedAt": "2026-11-20T05:59:00Z",
            "bytes": "120", "digest": format!("{version:032x}")})
    };
    let found = |with: &str, differences: Vec<Value>| {
        json!({"schemaVersion": "v1", "generatedAt": "2026-11-20T06:01:00Z", "localNodeId": "relay-a7f3", "cursor": "7f2c:48213",
            "stale": false, "comparedWith": with, "records": "4031", "differing": differences.len().to_string(),
            "differences": differences, "tookMs": 41,
            "pools": [{"target": "local", "status": "success", "drifted": 0}, {"target": "10.0.0.9:17420", "status": "drift", "drifted": 2}]})
    };
    let three = vec![
        json!({"kind": "peer", "key": "relay-b119", "state": "differs", "here": side(7, "relay-b119"), "there": side(9, "relay-a7f3")}),
        json!({"kind": "shard", "key": "orders/0007", "state": "only_here", "here": side(3, "relay-a7f3")}),
        json!({"kind": "shard", "key": "orders/0008", "state": "only_there", "there": side(1, "relay-a7f3")}),
    ];
    if path.ends_with(":reconcile") {
        let dry_run = request.body.contains("\"dryRun\":true");
        let mut document = json!({"schemaVersion": "v1", "localNodeId": "relay-a7f3", "cursor": "7f2c:48214", "changed": true,
            "dryRun": dry_run, "before": found("store", three)});
        if !dry_run {
            document["after"] = found("store", Vec::new());
        }
        return Reply::Json(200, document);
    }
    Reply::Json(
        200,
        if request.path.contains("nodeId=relay-c0de") {
            found("node/relay-c0de", Vec::new())
        } else {
            found("store", three)
        },
    )
}

/// What two nodes have measured; a third cannot be asked.
fn round_trips() -> Reply {
    answer(json!({"cursor": "7f2c:48213", "rows": [
        {"from": "node-1", "nodeId": "node-1", "roundTrips": [{"to": "node-2", "rttMs": 0.42}, {"to": "node-3", "rttMs": 11.3}]},
        {"from": "node-2", "nodeId": "node-2", "roundTrips": [{"to": "node-1", "rttMs": 0.4}]},
        {"from": "node-3", "nodeId": "node-3", "trouble": "no answer within 1000 ms"},
    ]}))
}

/// To which peers work may be given.
fn lease_health() -> Reply {
    let of = |id: &str, healthy: bool, leases: &[&str]| {
        json!({
            "peerId": id, "lastHeartbeat": "2026-11-20T06:00:58Z", "isHealthy": healthy, "activeAssignments": leases.len(),
            "pendingReassignments": 0, "activeLeases": leases, "metadata": {"mesh.role": "worker"},
        })
    };
    Reply::Json(
        200,
        json!({
            "peers": [of("relay-a7f3", true, &["global-control"]), of("relay-b119", false, &[])],
            "summary": {"eligiblePeers": 1, "unhealthyPeers": 1, "pendingReassignments": 0},
        }),
    )
}

fn drained() -> Reply {
    answer(json!({"nodeId": "relay-b119", "draining": true, "drained": true, "remaining": []}))
}

/// A peer that was suspected and has answered, and one of which nothing is remembered.
fn explained(path: &str) -> Reply {
    if path.contains("relay-c0de") {
        return answer(json!({
            "schemaVersion": "v1", "localNodeId": "relay-a7f3", "nodeId": "relay-c0de", "chapters": [], "silent": [],
            "health": {"state": "unknown", "by": [], "flaps": 0},
        }));
    }
    let chapter = |observer: &str, second: u32, verdict: &str, by: &str| {
        json!({
            "observer": observer, "time": format!("2026-11-20T06:02:{second:02}Z"), "verdict": verdict, "by": by,
            "incarnation": "1838718843685888", "correlationId": "8c1f5f0e-1111-8222-8333-444455556666",
        })
    };
    let mut suspected = chapter("relay-c0de", 3, "suspected", "relay-c0de");
    suspected["evidence"] =
        json!({"waitedMs": 1000.2, "helpers": ["relay-a7f3"], "nacks": 1, "rttMs": 0.8, "unwell": 0});
    let chapters = [
        chapter("relay-a7f3", 1, "joined", ""),
        suspected,
        chapter("relay-a7f3", 3, "suspected", "relay-c0de"),
        chapter("relay-b119", 4, "answered", "relay-c0de"),
        chapter("relay-a7f3", 4, "refuted", ""),
    ];
    answer(json!({
        "schemaVersion": "v1", "generatedAt": "2026-11-20T06:02:11Z", "localNodeId": "relay-a7f3",
        "nodeId": "relay-b119", "chapters": chapters, "silent": ["relay-d44b"],
        "health": {"state": "alive", "by": [], "flaps": 1},
    }))
}

/// What a node is reached by: one by both, one over TCP alone, one not at all.
fn pinged(path: &str) -> Reply {
    let carrier = |word: &str, connect: f64, rtts: [f64; 3]| {
        let [min, avg, max] = rtts;
        json!({
            "rpcTransport": word, "connectMs": connect, "rttMinMs": min, "rttAvgMs": avg, "rttMaxMs": max,
            "answered": 3, "lost": 0, "error": "",
        })
    };
    let nothing =
        |word: &str, error: &str| json!({"rpcTransport": word, "answered": 0, "lost": 0, "error": error});
    let silent = || nothing("http3", "no answer in 5000 ms");
    let http2 = || carrier("http2", 1.7, [0.7, 0.8, 0.9]);
    let ping = |node: &str, address: &str, used: &str, why: &str, carriers: [Value; 2]| {
        answer(json!({
            "schemaVersion": "v1", "localNodeId": "relay-a7f3", "nodeId": node, "address": address,
            "rpcTransport": used, "downgrade": why, "carriers": carriers,
        }))
    };
    match path.split('/').nth(3) {
        Some("relay-b119") => {
            let carriers = [carrier("http3", 2.1, [0.8, 0.9, 1.1]), http2()];
            ping("relay-b119", "10.0.1.2:17421", "http3", "", carriers)
        }
        Some("relay-c0de") => ping("relay-c0de", "10.0.2.7:17421", "http2", "no_answer", [silent(), http2()]),
        _ => {
            let refused = nothing("http2", "no connection: Connection refused (os error 111)");
            ping("relay-d44b", "10.0.3.9:17421", "", "no_answer", [silent(), refused])
        }
    }
}

fn is_of_identity(path: &str) -> bool {
    let nouns =
        ["authority", "certificates", "join-tokens", "join-policy", "mesh:revoke", "revocations", "whoami"];
    is_of(&nouns, path)
}

fn is_of(nouns: &[&str], path: &str) -> bool {
    nouns.iter().any(|noun| path.starts_with(&format!("/control/{noun}")))
}

/// What is proven in the mesh, and by whom.
fn identity(request: &Request, path: &str) -> Reply {
    match path {
        path if path.starts_with("/control/authority") => authority(request),
        path if path.starts_with("/control/certificates") => certificates(request, path),
        path if path.starts_with("/control/join-tokens") => join_tokens(request),
        "/control/join-policy" => join_policy(request),
        "/control/mesh:revoke" => changed(
            request,
            json!({
                "number": "4", "changes": ["holder spiffe://mesh.example/mesh/eu-1/worker/relay-b119: not revoked -> revoked"],
                "storeAccess": if request.body.contains("\"dryRun\":true") { "unspecified" } else { "deleted" },
                "sessionEnded": !request.body.contains("\"dryRun\":true"),
            }),
        ),
        "/control/whoami" => answer(json!({
            "principal": "operator:ann", "scopes": ["mesh.read", "mesh.operate"], "proof": "token",
            "tokenId": "9f0c9a7b3e1d24865f0c9a7b3e1d2486", "expiresAt": "2026-11-20T14:01:00Z", "roles": [],
        })),
        _ => answer(json!({
            "number": "3", "enforcedNumber": "3",
            "revocations": [
                {"serial": "4b7c19e02f5d8a61", "keyFingerprint": "", "id": "", "since": "2026-11-20T05:31:00Z",
                    "until": "2026-11-22T05:31:00Z", "reason": "laptop stolen"},
                {"serial": "", "keyFingerprint": "", "id": "spiffe://mesh.example/operator/bob",
                    "since": "2026-11-20T05:31:00Z", "until": "2026-11-22T05:31:00Z", "reason": "laptop stolen"},
            ],
        })),
    }
}

/// The answer to a change, with what every one has.
pub(crate) fn changed(request: &Request, mut fields: Value) -> Reply {
    let dry_run = request.body.contains("\"dryRun\":true") || request.path.contains("dryRun=true");
    fields["schemaVersion"] = json!("v1");
    fields["cursor"] = json!("7f2c:48214");
    fields["changed"] = json!(true);
    fields["dryRun"] = json!(dry_run);
    Reply::Json(200, fields)
}

fn certificates(request: &Request, path: &str) -> Reply {
    let certificate = |kind: &str, name: &str, role: &str, serial: &str| {
        json!({
            "serial": serial, "id": format!("spiffe://mesh.example/{kind}/{name}"),
            "holder": {"kind": kind, "name": name, "role": role, "cluster": if role.is_empty() { "" } else { "eu-1" }},
            "status": "valid", "notBefore": "2026-11-20T05:55:00Z", "notAfter": "2026-11-21T06:00:00Z",
            "dnsNames": [], "addresses": [], "keyFingerprint": "c".repeat(64), "issuedBy": "operator:ann",
        })
    };
    let ann = certificate("operator", "ann", "", "4b7c19e02f5d8a61");
    let lines = |lines: &[&str]| changed(request, json!({"number": "4", "changes": lines}));
    match path {
        "/control/certificates" => answer(json!({
            "certificates": [certificate("node", "relay-a7f3", "gateway", "5f0c9a7b3e1d2486"), ann],
        })),
        "/control/certificates:issue" => changed(
            request,
            json!({
                "certificate": ann, "chainPem": include_str!("../data/operator.pem"),
                "bundlePem": include_str!("../data/root.pem"),
                "changes": ["serial: none -> 4b7c19e02f5d8a61", "id: spiffe://mesh.example/operator/ann"],
            }),
        ),
        "/control/certificates:revoke" => lines(&["serial 4b7c19e02f5d8a61: not revoked -> revoked"]),
        _ => lines(&["holder spiffe://mesh.example/operator/bob: revoked -> reinstated"]),
    }
}

fn join_tokens(request: &Request) -> Reply {
    let token = json!({
        "tokenId": "5f0c9a7b3e1d2486", "status": "valid", "cluster": "eu-1", "role": "gateway", "usesMax": 3,
        "usedBy": ["relay-b119"], "nodes": [], "names": [], "replace": false, "createdBy": "operator:ann",
        "createdAt": "2026-11-20T05:31:00Z", "expiresAt": "2026-11-20T06:31:00Z", "version": "2",
        "lastWriterId": "relay-a7f3",
    });
    match request.method.as_str() {
        "GET" => answer(json!({"tokens": [token]})),
        "PUT" => changed(request, json!({"token": token, "changes": ["lets in: gateway of eu-1, 3 times"]})),
        _ => changed(request, json!({"token": token, "changes": ["revoked: false -> true"]})),
    }
}

fn join_policy(request: &Request) -> Reply {
    let policy = json!({
        "rules": [
            {"name": "attested", "effect": "allow", "roles": ["gateway"], "claims": {"image": "sha256:1f0e"},
                "attesters": ["ci"], "needsAttestation": true},
            {"name": "test", "effect": "deny", "environments": ["test"]},
            {"name": "workers", "effect": "allow", "roles": ["worker"], "labelSelector": "tier=edge"},
        ],
        "attesters": [{"name": "ci", "publicKeyPem": "-----BEGIN PUBLIC KEY-----\n...\n-----END PUBLIC KEY-----\n"}],
        "version": "2", "lastWriterId": "relay-a7f3",
    });
    match request.method.as_str() {
        "GET" => answer(json!({"policy": policy})),
        _ => changed(
            request,
            json!({"policy": policy, "changes": ["rules: token -> attested, test, workers"]}),
        ),
    }
}

/// By what the mesh is configured, and what it was before.
fn config(request: &Request, path: &str) -> Reply {
    let grpc = json!({"transport": "http2", "encoding": "protobuf"});
    let policy = json!({
        "categories": [{"name": "partner", "allowed": [grpc], "preferred": grpc, "requiresPreferred": true}],
        "exceptions": [{"name": "old-scale", "category": "partner", "endpoints": ["orders/scale"],
            "pairings": [{"transport": "http1", "encoding": "json"}], "reason": "INC-4711", "approvedBy": "operator:ann",
            "expiresAt": "2027-04-01T00:00:00Z"}],
        "legacy": [{"transport": "http1", "encoding": ""}], "budgets": {"rawEndpointsMax": 1, "legacyPairingsMax": 2},
    });
    let excepted = json!({
        "level": "excepted", "rule": "pairing-not-allowed", "endpoint": "scale", "namespace": "orders",
        "what": "`orders/scale` speaks http1+json, and `partner` allows http2+protobuf",
        "remedy": "exception `old-scale` allows it until 2027-04-01T00:00:00Z",
    });
    let report = json!({
        "fit": true, "findings": [excepted], "endpoints": 2, "rawEndpoints": 0, "rawEndpointsMax": 1,
        "legacyPairings": 2, "legacyPairingsMax": 2,
    });
    let transport = json!({
        "source": "registry", "policy": policy, "version": "3", "lastWriterId": "relay-a7f3",
        "updatedAt": "2026-11-20T05:31:00Z",
    });
    let version = |number: &str, reason: &str, back: &str| {
        json!({"version": number, "policy": policy, "setBy": "operator:ann", "setAt": "2026-11-20T05:31:00Z",
            "reason": reason, "rolledBackTo": back})
    };
    match (request.method.as_str(), path) {
        ("GET", "/control/config") => answer(json!({
            "transport": transport,
            "join": {"source": "default", "policy": {"rules": [{"name": "token", "effect": "allow"}]}},
            "endpoints": [
                {"name": "control", "namespace": "", "category": "control-plane", "profiles": [grpc], "acl": []},
                {"name": "scale", "namespace": "orders", "category": "partner",
                    "profiles": [grpc, {"transport": "http1", "encoding": "json"}], "acl": ["service:shop"]},
            ],
            "report": report,
        })),
        ("GET", _) => answer(json!({
            "versions": [version("3", "orders cannot do without", "1"), version("2", "", "0"), version("1", "begin", "0")],
        })),
        ("POST", "/control/config:reload") => {
            let dry_run = request.body.contains("\"dryRun\":true");
            Reply::Json(
                200,
                json!({
                    "schemaVersion": "v1", "localNodeId": "gw-a1b2", "changed": true, "dryRun": dry_run,
                    "settings": ["control.watchesMax", "log.filter"], "restartDue": ["control.listen"],
                }),
            )
        }
        ("POST", "/control/config:validate") => {
            Reply::Json(200, json!({"schemaVersion": "v1", "report": report}))
        }
        ("PUT", _) if request.body.contains("mesh-internal") => {
            problem("failed_precondition", "TRANSPORT_POLICY_VIOLATED", 409)
        }
        (method, _) => changed(
            request,
            json!({
                "policy": transport, "changes": ["budgets.rawEndpointsMax: 0 -> 1"], "report": report,
                "rolledBackTo": if method == "POST" { "1" } else { "0" },
            }),
        ),
    }
}

/// The role bindings of the mesh: one.
fn bindings(request: &Request, path: &str) -> Reply {
    let binding = json!({
        "principal": "token:deploy", "scopes": ["mesh.operate"], "version": "3", "lastWriterId": "relay-a7f3",
        "createdAt": "2026-11-20T05:00:00Z", "updatedAt": "2026-11-20T05:31:00Z",
    });
    let changed = |line: &str| {
        Reply::Json(
            200,
            json!({
                "schemaVersion": "v1", "cursor": "7f2c:48214", "changed": true,
                "dryRun": request.body.contains("\"dryRun\":true") || request.path.contains("dryRun=true"),
                "binding": binding, "changes": [line],
            }),
        )
    };
    let deploy = path.ends_with("/token:deploy") || path.ends_with("/token%3Adeploy");
    match (request.method.as_str(), deploy) {
        ("GET", false) if request.header("accept").is_some_and(|kind| kind.contains("event-stream")) => {
            Reply::Events(
                vec![
                    event(&json!({"type": "snapshot", "cursor": "", "binding": binding})),
                    event(&json!({"type": "synced", "cursor": "7f2c:48213", "prevCursor": ""})),
                    event(&json!({
                        "type": "modified", "cursor": "7f2c:48214", "prevCursor": "7f2c:48213",
                        "time": "2026-11-20T06:01:09Z", "binding": binding,
                    })),
                ],
                After::Stay,
            )
        }
        ("GET", false) => Reply::Json(
            200,
            json!({
                "schemaVersion": "v1", "generatedAt": "2026-11-20T06:01:00Z", "localNodeId": "relay-a7f3",
                "cursor": "7f2c:48213", "stale": false, "bindings": [binding],
            }),
        ),
        ("PUT", true) => changed("scopes: none -> mesh.operate"),
        ("DELETE", true) => changed("scopes: mesh.operate -> none"),
        _ => problem("not_found", "BINDING_NOT_FOUND", 404),
    }
}

/// What a watch of peers is told: the snapshot, and that one is alive again.
fn peer_events(peers: &[Value]) -> Vec<String> {
    let snapshot = peers.iter().map(|peer| event(&json!({"type": "snapshot", "cursor": "", "peer": peer})));
    let mut events: Vec<String> = snapshot.collect();
    events.push(event(&json!({"type": "synced", "cursor": "7f2c:48213", "prevCursor": ""})));
    events.push(event(&json!({
        "type": "modified", "cursor": "7f2c:48214", "prevCursor": "7f2c:48213",
        "time": "2026-11-20T06:01:09Z", "peer": peer("relay-b119", "alive", false),
    })));
    events
}

/// An audit record of the mesh.
fn record(id: &str, object: &str) -> Value {
    json!({
        "recordId": id, "revision": "48214", "time": "2026-11-20T06:00:55Z", "actor": "local",
        "action": "peers.cordon", "object": object, "reason": "disk errors", "nodeId": "relay-a7f3",
        "requestId": "r-1", "dryRun": false, "changes": ["cordoned: false -> true"], "sealed": id == "01",
        "refused": false, "count": 0, "refusal": "",
    })
}

/// The audit trail of the mesh: one record is sealed, one comes while it is watched, one was changed.
fn audit(request: &Request, path: &str) -> Reply {
    match path {
        "/control/audit" if request.header("accept").is_some_and(|kind| kind.contains("event-stream")) => {
            let added = json!({
                "type": "added", "cursor": "7f2c:48215", "prevCursor": "7f2c:48213",
                "time": "2026-11-20T06:01:09Z", "record": record("02", "peer/relay-b119"),
            });
            Reply::Events(vec![event(&added)], After::Stay)
        }
        // As a daemon says it of a name that no record can have.
        "/control/audit" if request.path.contains("leaders%2F") => Reply::Json(
            400,
            json!({
                "type": "about:blank", "title": "t", "status": 400, "code": "invalid_argument",
                "reason": "INVALID_ARGUMENT", "exitCode": 2, "retryable": false, "requestId": "r-1", "details": [],
                "message": "field `object`: there are no objects of the kind of `leaders/x`: no record can match",
                "hint": "is one of these meant? leader/x, leadership/x",
            }),
        ),
        "/control/audit" => {
            answer(json!({"nextPageToken": "", "records": [record("01", "peer/relay-c0de")]}))
        }
        "/control/audit/01" => answer(json!({"record": record("01", "peer/relay-c0de")})),
        "/control/audit:verify" => {
            let chain =
                json!({"fingerprint": "a5902a54691ddb78d444c034a8b64b3a", "sequence": "7", "seals": "7"});
            let node = json!({"nodeId": "relay-a7f3", "sealed": "1203", "unsealed": "2", "chains": [chain]});
            let finding = json!({
                "wrong": "changed", "nodeId": "relay-a7f3", "recordId": "01",
                "seal": "a5902a54691ddb78d444c034a8b64b3a/6", "what": "it is not what was sealed",
            });
            let since = request.path.contains("since=");
            let findings = if since { vec![] } else { vec![finding] };
            answer(json!({
                "ok": since, "sealed": "1203", "unsealed": "2", "nodes": [node], "findings": findings,
            }))
        }
        "/control/audit:export" => {
            let head = json!({"head": {"schemaVersion": "v1", "localNodeId": "relay-a7f3", "complete": true,
                                       "sealed": false}});
            Reply::Text(200, "application/x-ndjson", format!("{head}\n"))
        }
        path if path.starts_with("/control/snapshot") => snapshots(&request.body, path),
        _ => problem("not_found", "AUDIT_RECORD_NOT_FOUND", 404),
    }
}

/// What happens in the mesh: an operator drains a peer that leads, and the store falls silent.
fn happenings(request: &Request) -> Reply {
    if request.path.contains("nope") {
        return problem("invalid_argument", "INVALID_ARGUMENT", 400);
    }
    let happened = |of: &str, subject: &str, revision: u32, data: Value| {
        json!({
            "specversion": "1.0", "id": format!("7f2c:{revision}/{subject}"), "source": "/clusters/eu-1",
            "type": format!("omnirelay.{of}"), "subject": subject, "time": "2026-11-20T06:01:09.120Z",
            "datacontenttype": "application/json", "data": data,
            "cursor": format!("7f2c:{revision},readiness=0"),
            "prevcursor": format!("7f2c:{},readiness=0", revision - 1),
        })
    };
    let synced = json!({
        "specversion": "1.0", "id": "synced@7f2c:48212", "source": "/clusters/eu-1",
        "type": "omnirelay.events.synced", "cursor": "7f2c:48212,readiness=0",
        "prevcursor": "7f2c:48212,readiness=0",
    });
    let mut draining = peer("relay-b119", "alive", false);
    draining["draining"] = json!(true);
    let mut drain = happened("peers.modified", "peer/relay-b119", 48213, json!({"peer": draining}));
    for (name, value) in [("actor", "local"), ("action", "peers.drain"), ("reason", "kernel update")] {
        drain[name] = json!(value);
    }
    let tenure = json!({
        "leaderId": "relay-a7f3", "term": "5", "fenceToken": "1795155507427", "reason": "transfer",
        "leaderlessMs": "4", "scope": "global-control",
    });
    let leadership = json!({"scope": "global-control", "previousLeaderId": "relay-b119"});
    let data = json!({"leadership": leadership, "tenure": tenure});
    let elected = happened("leadership.elected", "leadership/global-control", 48214, data);
    let need =
        json!({"name": "store", "ok": false, "message": "the store has not answered", "required": false});
    let silent = happened("store.degraded", "node/relay-a7f3", 48215, json!({"readiness": need}));
    Reply::Events([synced, drain, elected, silent].iter().map(event).collect(), After::Stay)
}

fn dev(state: &str) -> Reply {
    let node = json!({"nodeId": "node-1", "state": state, "control": "127.0.0.1:17420"});
    Reply::Json(200, json!({"schemaVersion": "v1", "changed": true, "node": node}))
}
