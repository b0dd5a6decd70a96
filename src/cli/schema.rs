//! `omnirelay schema`: JSON schemas of the documents, from the descriptors of the API.

mod relays;

use clap::Args;
use omnirelay_wire::descriptors::ENCODED;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::document::text;
use super::error::CliError;
use super::output::{Text, View};
use super::rpc::{Leaf, lower_camel};
use super::session::Session;
use super::table::{Column, Layout, Moment, Table};

pub const LEAF: Leaf = Leaf::local("schema", "made from descriptors that are built in").exiting("0 1 2 3");

const EXAMPLES: &str = "\
Examples:
  omnirelay schema
  omnirelay schema peers
  omnirelay schema peer-event -o yaml";

/// Print the JSON schema of a document; without a kind, list them
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct SchemaArgs {
    /// The kind of document, such as peers
    #[arg(value_name = "KIND")]
    kind: Option<String>,
}

/// Where the schema of a document is from.
enum Origin {
    /// The full name of a message.
    Message(&'static str),
    /// The same of one that is called over gRPC: the document has a head that the message has not.
    Headed(&'static str),
    /// A document of the command line's own.
    Own(fn() -> Value),
}

/// One kind of document and the commands that print it.
struct Document {
    kind: &'static str,
    printed_by: &'static str,
    origin: Origin,
}

static DOCUMENTS: &[Document] = &[
    message(
        "advertisement-event",
        "registers watch, available --watch",
        "omnirelay.registers.v1.AdvertisementEvent",
    ),
    own("agent", "agents get", relays::agent),
    headed("agent-placement", "agents placement", "aeroarc.registry.v1.GetAgentPlacementResponse"),
    headed("agents", "agents list", "aeroarc.registry.v1.ListAgentsResponse"),
    message("audit", "audit list", "omnirelay.security.v1.ListAuditRecordsResponse"),
    message("audit-event", "audit tail", "omnirelay.security.v1.AuditEvent"),
    message("audit-export-line", "audit export", "omnirelay.security.v1.AuditExportItem"),
    message("audit-record", "audit get", "omnirelay.security.v1.GetAuditRecordResponse"),
    message("audit-verdict", "audit verify", "omnirelay.security.v1.VerifyAuditResponse"),
    own("check", "mesh check", check),
    own("context", "context current, get, use, add, set, rename, delete", context),
    own("contexts", "context list", contexts),
    message("dev-node-change", "dev kill, pause, resume", "omnirelay.dev.v1.DevNodeChange"),
    message("dev-nodes", "dev list", "omnirelay.dev.v1.ListDevNodesResponse"),
    own("drone", "drones status", relays::drone),
    own("drone-command", "drones set-context, clear-context", relays::command),
    own("drone-event", "drones watch", relays::drone_event),
    own("drones", "drones list", relays::drones),
    own("error", "every command that fails, on standard error", error),
    message("leader", "mesh leaders get", "omnirelay.mesh.control.v1.GetLeaderResponse"),
    message(
        "leader-change",
        "mesh leaders transfer, step-down, create, set, delete",
        "omnirelay.mesh.control.v1.LeaderChange",
    ),
    message("leader-event", "mesh leaders watch, list --watch", "omnirelay.mesh.control.v1.LeaderEvent"),
    message("leader-explanation", "mesh leaders explain", "omnirelay.mesh.control.v1.ExplainLeaderResponse"),
    message("leader-history", "mesh leaders history", "omnirelay.mesh.control.v1.LeadershipHistoryResponse"),
    message("leaders", "mesh leaders list, status", "omnirelay.mesh.control.v1.ListLeadersResponse"),
    message("node", "api GET /control/node", "omnirelay.mesh.control.v1.GetNodeResponse"),
    message("operation", "ops get, wait", "omnirelay.mesh.control.v1.GetOperationResponse"),
    message("operation-change", "ops cancel", "omnirelay.mesh.control.v1.OperationChange"),
    message("operations", "ops list", "omnirelay.mesh.control.v1.ListOperationsResponse"),
    message("peer", "mesh peers get, status", "omnirelay.mesh.control.v1.GetPeerResponse"),
    message(
        "peer-change",
        "mesh peers cordon, uncordon, drain, undrain, label, forget",
        "omnirelay.mesh.control.v1.PeerChange",
    ),
    message("peer-event", "mesh peers watch, list --watch", "omnirelay.mesh.control.v1.PeerEvent"),
    message("peers", "mesh peers list", "omnirelay.mesh.control.v1.ListPeersResponse"),
    message("register", "registers get", "omnirelay.registers.v1.GetRegisterResponse"),
    message(
        "register-change",
        "registers create, update, delete, advertise, unadvertise",
        "omnirelay.registers.v1.RegisterChange",
    ),
    message("register-import", "registers import", "omnirelay.registers.v1.ImportRegistersResponse"),
    message("registers", "registers list", "omnirelay.registers.v1.ListRegistersResponse"),
    message("registers-available", "registers available", "omnirelay.registers.v1.ListAvailableResponse"),
    message("registers-status", "registers status", "omnirelay.registers.v1.GetSyncStateResponse"),
    own("relay", "relays get", relays::relay),
    message("relay-event", "relays watch, agents watch", "aeroarc.registry.v1.WatchEvent"),
    headed("relays", "relays list", "aeroarc.registry.v1.ListRelaysResponse"),
    own("results", "commands that were given several objects", results),
    own("resync", "registers resync", resync),
    message("resync-plan", "registers resync --dry-run, --no-wait", "omnirelay.registers.v1.ResyncResponse"),
    own("version", "version", version),
];

const fn message(kind: &'static str, printed_by: &'static str, name: &'static str) -> Document {
    Document { kind, printed_by, origin: Origin::Message(name) }
}

const fn headed(kind: &'static str, printed_by: &'static str, name: &'static str) -> Document {
    Document { kind, printed_by, origin: Origin::Headed(name) }
}

const fn own(kind: &'static str, printed_by: &'static str, schema: fn() -> Value) -> Document {
    Document { kind, printed_by, origin: Origin::Own(schema) }
}

static COLUMNS: &[Column] = &[
    Column::new("kind", |row, _| text(row, "kind").to_owned()).keep(),
    Column::new("printed-by", |row, _| text(row, "printedBy").to_owned()),
];

/// Prints a schema, or the list of them.
///
/// # Errors
/// Not found, when there is no such kind.
pub fn run(args: &SchemaArgs, session: &mut Session) -> Result<Exit, CliError> {
    let Some(kind) = &args.kind else { return all(session) };
    let Some(document) = DOCUMENTS.iter().find(|document| document.kind == kind) else {
        let kinds: Vec<&str> = DOCUMENTS.iter().map(|document| document.kind).collect();
        return Err(CliError::new(reasons::SCHEMA_UNKNOWN, format!("there is no document `{kind}`"))
            .hint(format!("choose from {}", kinds.join(", "))));
    };
    let schema = schema_of(document)?;
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    session.show(&View::lines(schema, format!("schema/{kind}"), format!("{text}\n")))?;
    Ok(Exit::Ok)
}

fn all(session: &mut Session) -> Result<Exit, CliError> {
    let row = |document: &Document| json!({"kind": document.kind, "printedBy": document.printed_by});
    let rows: Vec<Value> = DOCUMENTS.iter().map(row).collect();
    let moment = Moment { now_ms: None, absolute: false };
    let table = Table::of(COLUMNS, &rows, moment, &Layout::default())?;
    session.show(&View {
        document: json!({"schemaVersion": "v1", "schemas": rows}),
        items: Some(rows),
        names: DOCUMENTS.iter().map(|document| format!("schema/{}", document.kind)).collect(),
        text: Text::Table(table),
    })?;
    Ok(Exit::Ok)
}

fn schema_of(document: &Document) -> Result<Value, CliError> {
    let mut schema = match document.origin {
        Origin::Own(schema) => schema(),
        Origin::Message(name) | Origin::Headed(name) => {
            let pool = DescriptorPool::decode(ENCODED).map_err(|error| {
                CliError::local(reasons::DESCRIPTORS, "cannot read the descriptors built in", &error)
            })?;
            let message = pool
                .get_message_by_name(name)
                .ok_or_else(|| CliError::new(reasons::DESCRIPTORS, format!("the descriptors lack {name}")))?;
            let mut defs = Map::new();
            let mut schema = object_of(&message, &mut defs);
            if !defs.is_empty() {
                schema["$defs"] = Value::Object(defs);
            }
            schema
        }
    };
    if matches!(document.origin, Origin::Headed(_)) {
        relays::put_head(&mut schema);
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.shift_insert(0, "title".into(), json!(document.kind));
        fields.shift_insert(0, "$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    }
    Ok(schema)
}

/// The schema of a message's JSON; messages below it go into `defs`.
fn object_of(message: &MessageDescriptor, defs: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in message.fields() {
        let name = lower_camel(field.name());
        // Fields without presence are always printed, and so is nothing else.
        if !field.supports_presence() {
            required.push(json!(name));
        }
        let mut schema = field_schema(&field, defs);
        if let (Some(comment), Some(schema)) = (comment(&field), schema.as_object_mut()) {
            schema.insert("description".into(), json!(comment));
        }
        properties.insert(name, schema);
    }
    json!({"type": "object", "properties": properties, "required": required})
}

fn field_schema(field: &FieldDescriptor, defs: &mut Map<String, Value>) -> Value {
    if field.is_map() {
        let values = match field.kind() {
            Kind::Message(entry) => kind_schema(&entry.map_entry_value_field().kind(), defs),
            _ => json!({}),
        };
        return json!({"type": "object", "additionalProperties": values});
    }
    let schema = kind_schema(&field.kind(), defs);
    if field.is_list() { json!({"type": "array", "items": schema}) } else { schema }
}

fn kind_schema(kind: &Kind, defs: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer"}),
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "pattern": "^-?[0-9]+$"}),
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "pattern": "^[0-9]+$"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        // Words may be added, so no enumeration closes the list.
        Kind::Enum(words) => {
            let words: Vec<String> = words.values().map(|value| value.name().to_owned()).collect();
            json!({"type": "string", "examples": words})
        }
        Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
            json!({"type": "string", "format": "date-time"})
        }
        Kind::Message(message) => {
            let name = message.name().to_owned();
            if !defs.contains_key(&name) {
                // Put in first, so that a message that contains itself ends here.
                defs.insert(name.clone(), Value::Null);
                let schema = object_of(message, defs);
                defs.insert(name.clone(), schema);
            }
            json!({"$ref": format!("#/$defs/{name}")})
        }
    }
}

/// What the proto says of a field.
fn comment(field: &FieldDescriptor) -> Option<String> {
    let file = field.parent_file();
    let locations = &file.file_descriptor_proto().source_code_info.as_ref()?.location;
    let location = locations.iter().find(|location| location.path == field.path())?;
    let comment = location.leading_comments.as_deref()?.trim();
    let words: Vec<&str> = comment.split_whitespace().collect();
    Some(words.join(" ")).filter(|text| !text.is_empty())
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

fn context() -> Value {
    object(context_properties(), &["schemaVersion", "name", "address", "addresses", "cluster"])
}

fn contexts() -> Value {
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

fn error() -> Value {
    let required = ["code", "reason", "message", "exitCode", "retryable", "details"];
    object(json!({"error": object(error_properties(), &required)}), &["error"])
}

fn results() -> Value {
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

fn check() -> Value {
    let number = || json!({"type": "integer", "minimum": 0});
    let row = object(
        json!({
            "id": string(), "description": string(), "message": string(), "error": string(), "hint": string(),
            "result": {"type": "string", "examples": ["pass", "warn", "fail", "skip", "unknown"]},
            "durationMs": number(),
        }),
        &["id", "description", "result", "message", "durationMs"],
    );
    let category =
        object(json!({"name": string(), "checks": {"type": "array", "items": row}}), &["name", "checks"]);
    let summary = ["pass", "warn", "fail", "skip", "unknown", "durationMs"];
    let counts: Map<String, Value> = summary.iter().map(|name| ((*name).to_owned(), number())).collect();
    object(
        json!({
            "schemaVersion": string(), "kind": string(), "success": {"type": "boolean"},
            "summary": object(Value::Object(counts), &summary),
            "categories": {"type": "array", "items": category},
        }),
        &["schemaVersion", "kind", "success", "summary", "categories"],
    )
}

fn resync() -> Value {
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

fn version() -> Value {
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
    fn every_document_has_a_schema() {
        for document in DOCUMENTS {
            let schema =
                schema_of(document).unwrap_or_else(|error| panic!("{}: {}", document.kind, error.to_text()));
            assert_eq!(schema["type"], "object", "{}", document.kind);
            assert!(!schema.to_string().contains("null"), "{}: {schema}", document.kind);
        }
    }

    #[test]
    fn schema_says_what_the_proto_says() {
        let peers = DOCUMENTS.iter().find(|document| document.kind == "peers").unwrap();
        let schema = schema_of(peers).unwrap();
        assert_eq!(
            schema["$defs"]["Peer"]["properties"]["version"]["type"], "string",
            "64-bit numbers are strings"
        );
        assert_eq!(schema["$defs"]["Peer"]["properties"]["statusSince"]["format"], "date-time");
        assert!(schema["properties"]["cursor"]["description"].as_str().unwrap().contains("registry stood"));
        let required = schema["$defs"]["Peer"]["required"].as_array().unwrap();
        assert!(required.contains(&json!("nodeId")) && !required.contains(&json!("rttMs")));
        assert!(!required.contains(&json!("metadata")), "a message may be absent");
    }
}
