//! The schemas of the documents that no message describes: the command line's own, and what relays and their registry are
//! asked for, to which it puts a head or which it joins.

use omnirelay_wire::descriptors::ENCODED;
use prost_reflect::DescriptorPool;
use serde_json::{Map, Value, json};

use super::message::object_of;

/// Puts what every document begins with into the schema of a message.
pub(crate) fn put_head(schema: &mut Value) {
    for (name, field) in head().into_iter().rev() {
        if let Some(required) = schema["required"].as_array_mut() {
            required.insert(0, json!(name));
        }
        if let Some(properties) = schema["properties"].as_object_mut() {
            properties.shift_insert(0, name, field);
        }
    }
}

fn head() -> Map<String, Value> {
    let mut head = Map::new();
    head.insert("schemaVersion".to_owned(), string());
    head.insert("generatedAt".to_owned(), json!({"type": "string", "format": "date-time"}));
    head
}

/// A document with a head; the names of what it always has.
fn document(fields: Value, required: &[&str]) -> Value {
    let mut properties = head();
    properties.extend(fields.as_object().cloned().unwrap_or_default());
    object(Value::Object(properties), &[&["schemaVersion", "generatedAt"], required].concat())
}

/// The schema of a message; of those below it only that they are objects.
fn flat(name: &str) -> Value {
    let pool = DescriptorPool::decode(ENCODED).ok();
    let message = pool.and_then(|pool| pool.get_message_by_name(name));
    let mut schema = message.map_or_else(|| json!({}), |message| object_of(&message, &mut Map::new()));
    let properties = schema["properties"].as_object_mut().into_iter().flatten();
    for (_, field) in properties.filter(|(_, field)| field.get("$ref").is_some()) {
        *field = json!({"type": "object"});
    }
    schema
}

/// What an answer of the registry says of itself.
fn of_registry(mut fields: Value) -> Value {
    fields["cursor"] = string();
    fields["stale"] = json!({"type": "boolean"});
    fields["staleMs"] = json!({"type": "string", "pattern": "^[0-9]+$"});
    fields
}

fn address() -> Value {
    json!({"type": "string", "description": "Where the relay was asked."})
}

pub(crate) fn relay() -> Value {
    let fields = of_registry(json!({ "relay": flat("aeroarc.registry.v1.Relay") }));
    document(fields, &["relay", "cursor", "stale"])
}

pub(crate) fn agent() -> Value {
    let fields = of_registry(json!({
        "placement": flat("aeroarc.registry.v1.AgentPlacement"), "agent": flat("aeroarc.registry.v1.Agent"),
        "relay": flat("aeroarc.registry.v1.Relay"),
    }));
    document(fields, &["placement", "agent", "cursor", "stale"])
}

pub(crate) fn drone() -> Value {
    let fields = json!({ "drone": flat("aeroarc.relay.v1.DroneStatus"), "address": address() });
    document(fields, &["drone", "address"])
}

pub(crate) fn drones() -> Value {
    let required = ["code", "reason", "message", "exitCode", "retryable", "details"];
    let unreachable = object(
        json!({"relayId": string(), "address": address(), "error": object(error_properties(), &required)}),
        &["relayId", "address", "error"],
    );
    let fields = json!({
        "stale": {"type": "boolean"}, "relays": {"type": "integer", "minimum": 0},
        "drones": {"type": "array", "items": flat("aeroarc.relay.v1.DroneStatus")},
        "unreachable": {"type": "array", "items": unreachable},
    });
    document(fields, &["stale", "relays", "drones", "unreachable"])
}

pub(crate) fn drone_event() -> Value {
    let words = ["snapshot", "synced", "added", "modified", "removed"];
    object(
        json!({
            "type": {"type": "string", "examples": words}, "cursor": string(), "prevCursor": string(),
            "time": {"type": "string", "format": "date-time"}, "drone": flat("aeroarc.relay.v1.DroneStatus"),
        }),
        &["type", "cursor", "prevCursor", "time"],
    )
}

pub(crate) fn command() -> Value {
    let fields = json!({
        "result": flat("aeroarc.agent.v1.OperationContextCommandAck"), "agentId": string(), "relayId": string(),
    });
    document(fields, &["result", "agentId", "relayId"])
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

fn string() -> Value {
    json!({"type": "string"})
}

fn context_properties() -> Value {
    json!({
        "schemaVersion": string(), "name": string(), "address": string(),
        "addresses": {"type": "array", "items": string()}, "cluster": string(),
        "protected": {"type": "boolean"}, "current": {"type": "boolean"},
    })
}

pub(crate) fn context() -> Value {
    object(context_properties(), &["schemaVersion", "name", "address", "addresses", "cluster"])
}

pub(crate) fn contexts() -> Value {
    let context =
        object(context_properties(), &["name", "address", "addresses", "cluster", "protected", "current"]);
    object(
        json!({"schemaVersion": string(), "current": string(), "contexts": {"type": "array", "items": context}}),
        &["schemaVersion", "current", "contexts"],
    )
}

fn error_properties() -> Value {
    json!({
        "code": string(), "reason": string(), "message": string(), "cause": string(), "hint": string(),
        "exitCode": {"type": "integer"}, "retryable": {"type": "boolean"}, "requestId": string(),
        "target": object(json!({"context": string(), "cluster": string(), "address": string()}), &[]),
        "details": {"type": "array", "items": {"type": "object"}},
    })
}

pub(crate) fn error() -> Value {
    let required = ["code", "reason", "message", "exitCode", "retryable", "details"];
    object(json!({"error": object(error_properties(), &required)}), &["error"])
}

pub(crate) fn results() -> Value {
    let result = object(
        json!({
            "name": string(), "status": {"type": "string", "examples": ["ok", "error"]},
            "change": {"type": "object"}, "response": {"type": "object"},
            "error": object(error_properties(), &["code", "reason", "message", "exitCode", "retryable", "details"]),
        }),
        &["name", "status"],
    );
    object(
        json!({"schemaVersion": string(), "results": {"type": "array", "items": result}}),
        &["schemaVersion", "results"],
    )
}

pub(crate) fn alert_proofs() -> Value {
    let duration = || json!({"type": "integer", "minimum": 0});
    let row = object(
        json!({
            "alert": string(), "fault": string(), "result": {"type": "string", "examples": ["pass", "fail"]},
            "forMs": duration(), "firesAfterMs": duration(), "goesAfterMs": duration(),
        }),
        &["alert", "fault", "result", "forMs"],
    );
    object(
        json!({
            "schemaVersion": string(), "success": {"type": "boolean"}, "proofs": {"type": "array", "items": row},
            "alsoFired": {"type": "array", "items": string()},
        }),
        &["schemaVersion", "success", "proofs", "alsoFired"],
    )
}

pub(crate) fn probe() -> Value {
    let row = object(
        json!({
            "check": string(), "result": {"type": "string", "examples": ["pass", "fail", "skip"]},
            "durationMs": {"type": "integer", "minimum": 0}, "detail": string(),
        }),
        &["check", "result", "durationMs", "detail"],
    );
    object(
        json!({
            "schemaVersion": string(), "success": {"type": "boolean"}, "checks": {"type": "array", "items": row},
        }),
        &["schemaVersion", "success", "checks"],
    )
}

pub(crate) fn check() -> Value {
    let number = || json!({"type": "integer", "minimum": 0});
    let row = object(
        json!({
            "id": string(), "description": string(), "message": string(), "error": string(), "hint": string(),
            "page": string(),
            "result": {"type": "string", "examples": ["pass", "warn", "fail", "skip", "unknown"]},
            "durationMs": number(), "seenBy": {"type": "array", "items": string()},
            "about": {"type": "array", "items": string()},
        }),
        &["id", "description", "result", "message", "durationMs"],
    );
    let category =
        object(json!({"name": string(), "checks": {"type": "array", "items": row}}), &["name", "checks"]);
    let node = object(checked_node(), &["nodeId"]);
    let summary = ["pass", "warn", "fail", "skip", "unknown", "durationMs"];
    let counts: Map<String, Value> = summary.iter().map(|name| ((*name).to_owned(), number())).collect();
    object(
        json!({
            "schemaVersion": string(), "kind": string(), "success": {"type": "boolean"},
            "summary": object(Value::Object(counts), &summary),
            "categories": {"type": "array", "items": category}, "nodes": {"type": "array", "items": node},
        }),
        &["schemaVersion", "kind", "success", "summary", "categories"],
    )
}

/// What came of asking a node, and what is wrong with it.
fn checked_node() -> Value {
    let number = || json!({"type": "integer", "minimum": 0});
    json!({
        "nodeId": string(), "by": string(), "trouble": string(), "durationMs": number(), "version": string(),
        "ready": {"type": "boolean"}, "storeSilentMs": number(), "clockAheadMs": string(),
        "certificateEndsAt": {"type": "string", "format": "date-time"}, "diskFreeBytes": string(),
        "wrong": {"type": "array", "items": string()},
        "worst": {"type": "string", "examples": ["pass", "warn", "fail", "unknown"]},
    })
}

pub(crate) fn node_status() -> Value {
    let mut node = checked_node();
    node["status"] = json!({"type": "string", "examples": ["alive", "suspect", "dead", "left"]});
    node["leads"] = json!({"type": "integer", "minimum": 0});
    let properties = json!({
        "schemaVersion": string(), "generatedAt": {"type": "string", "format": "date-time"},
        "localNodeId": string(), "cursor": string(), "stale": {"type": "boolean"}, "clusterId": string(),
        "nodes": {"type": "array", "items": object(node, &["nodeId", "status", "leads"])},
    });
    object(properties, &["schemaVersion", "localNodeId", "cursor", "nodes"])
}

pub(crate) fn status() -> Value {
    let counts = |names: &[&str]| {
        let number = |name: &&str| ((*name).to_owned(), json!({"type": "integer", "minimum": 0}));
        object(Value::Object(names.iter().map(number).collect()), names)
    };
    let properties = json!({
        "schemaVersion": string(), "generatedAt": {"type": "string", "format": "date-time"},
        "localNodeId": string(), "cursor": string(), "stale": {"type": "boolean"},
        "staleMs": {"type": "integer", "minimum": 0}, "clusterId": string(),
        "version": string(), "development": {"type": "boolean"}, "store": string(),
        "peers": counts(&["total", "alive", "suspect", "dead", "left", "cordoned"]),
        "leaders": counts(&["scopes", "led"]),
        "registers": counts(&["hosted", "toAdvertise", "local", "remote", "deferred"]),
        "relays": counts(&["total", "agents"]),
        "problems": problems(),
    });
    let required = ["schemaVersion", "localNodeId", "cursor", "stale", "peers", "problems"];
    object(properties, &required)
}

/// Checks that found something, as status and top tell of them.
fn problems() -> Value {
    let problem = object(
        json!({
            "id": string(), "result": {"type": "string", "examples": ["warn", "fail", "unknown"]},
            "message": string(), "hint": string(),
        }),
        &["id", "result", "message"],
    );
    json!({"type": "array", "items": problem})
}

pub(crate) fn top() -> Value {
    let number = || json!({"type": "integer", "minimum": 0});
    let counts = |names: &[&str]| {
        let fields = names.iter().map(|name| ((*name).to_owned(), number())).collect();
        object(Value::Object(fields), &[])
    };
    let properties = json!({
        "schemaVersion": string(), "generatedAt": {"type": "string", "format": "date-time"},
        "localNodeId": string(), "cursor": string(), "stale": {"type": "boolean"}, "staleMs": number(),
        "clusterId": string(), "version": string(),
        "peers": counts(&["total", "alive", "suspect", "dead", "left"]),
        "leaders": counts(&["scopes", "led"]),
        "shards": counts(&["total", "owned", "moving", "paused"]),
        "registers": counts(&["available"]), "relays": counts(&["total", "agents"]),
        "plans": counts(&["open"]), "problems": problems(),
    });
    object(properties, &["schemaVersion", "localNodeId", "cursor", "stale", "peers", "problems"])
}

pub(crate) fn snapshot() -> Value {
    let number = || json!({"type": "integer", "minimum": 0});
    let properties = json!({
        "schemaVersion": string(), "clusterId": string(), "takenAt": {"type": "string", "format": "date-time"},
        "localNodeId": string(), "cursor": string(), "version": string(), "records": number(), "leftOut": number(),
        "bytes": number(), "sha256": string(), "kinds": {"type": "object", "additionalProperties": number()},
        "trailSound": {"type": "boolean"}, "findings": {"type": "array", "items": {"type": "object"}},
    });
    object(
        properties,
        &["schemaVersion", "clusterId", "records", "sha256", "kinds", "trailSound", "findings"],
    )
}

pub(crate) fn snapshot_restored() -> Value {
    let counts = ["records", "restored", "merged", "kept", "refusedCount"];
    let refused = json!({"kind": string(), "key": string(), "why": string()});
    let mut properties = json!({
        "schemaVersion": string(), "clusterId": string(), "cursor": string(), "changed": {"type": "boolean"},
        "dryRun": {"type": "boolean"},
    });
    for name in counts {
        properties[name] = json!({"type": "integer", "minimum": 0});
    }
    properties["refused"] = json!({"type": "array", "items": object(refused, &["kind", "key", "why"])});
    let required = [&["schemaVersion", "changed", "dryRun"], counts.as_slice(), &["refused"]].concat();
    object(properties, &required)
}

pub(crate) fn resync() -> Value {
    let counts = ["processed", "added", "updated", "removed", "unchanged", "failed", "deferred"];
    let result = object(
        json!({"registerId": string(), "reason": string(), "message": string()}),
        &["registerId", "reason", "message"],
    );
    let mut properties = json!({
        "schemaVersion": string(), "operationId": string(),
        "result": {"type": "string", "examples": ["unchanged", "synced", "partial", "failed", "cancelled"]},
    });
    for name in counts {
        properties[name] = json!({"type": "integer", "minimum": 0});
    }
    properties["results"] = json!({"type": "array", "items": result});
    let required = [&["schemaVersion", "operationId", "result"], counts.as_slice(), &["results"]].concat();
    object(properties, &required)
}

pub(crate) fn support_bundle() -> Value {
    let time = || json!({"type": "string", "format": "date-time"});
    let list = |of: Value| json!({"type": "array", "items": of});
    let whole = || json!({"type": "integer", "minimum": 0});
    let file = json!({
        "file": string(), "what": string(), "nodeId": string(), "request": string(), "bytes": whole(), "answeredAt": time(),
        "tookMs": whole(), "cut": {"type": "boolean"},
    });
    let missing = json!({"nodeId": string(), "what": string(), "request": string(), "why": string()});
    let all = |fields: Value| {
        let names: Vec<String> =
            fields.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        object(fields, &names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    all(json!({
        "schemaVersion": string(), "madeAt": time(), "version": string(),
        "nodes": list(all(json!({"nodeId": string(), "address": string()}))), "files": list(all(file)),
        "missing": list(all(missing)), "cut": list(string()), "never": list(string()), "fieldsLeftOut": list(string()),
    }))
}

pub(crate) fn version() -> Value {
    let server = object(
        json!({"version": string(), "nodeId": string(), "clientVersionMin": string()}),
        &["version", "nodeId", "clientVersionMin"],
    );
    object(
        json!({"schemaVersion": string(), "client": object(json!({"version": string()}), &["version"]), "server": server}),
        &["schemaVersion", "client"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_relays_say_what_their_protos_say() {
        let drones = drones();
        let drone = &drones["properties"]["drones"]["items"];
        assert_eq!(drone["properties"]["ackedSeq"]["type"], "string", "64-bit numbers are strings");
        assert_eq!(drones["required"][0], "schemaVersion");
        assert_eq!(
            command()["properties"]["result"]["properties"]["activeContext"],
            json!({"type": "object"})
        );
        let mut message = json!({"properties": {"relays": {}}, "required": ["relays"]});
        put_head(&mut message);
        assert_eq!(message["required"], json!(["schemaVersion", "generatedAt", "relays"]));
    }
}
