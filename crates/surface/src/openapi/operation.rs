//! Operations: the parameters, bodies and answers of the methods at one path and verb.

use omnirelay_identity::caller::Scope;
use omnirelay_wire::problem;
use prost_reflect::{FieldDescriptor, Kind};
use serde_json::{Map, Value, json};

use super::comments::{ProtoComments, summary};
use super::schema::Schemas;
use crate::accept::AnswerForm;
use crate::dialect::Dialect;
use crate::method::{DescribedMethod, HttpBinding, NO_SCOPE};
use crate::query::{FieldPath, resolve, takes_text};
use crate::required::is_required;
use crate::shape::is_well_known;
use crate::template::PathTemplate;

/// A method and the route it is reached by.
pub(super) type BoundMethod<'m> = (&'m DescribedMethod, &'m HttpBinding);

/// How deep query parameters reach into messages.
const QUERY_DEPTH_MAX: usize = 3;

/// What is said of a variable that takes the rest of its path: OpenAPI cannot write that into the path.
const TAKES_SLASHES: &str =
    "It may hold slashes, sent as they are or encoded; no part between them is empty.";

/// The template as OpenAPI writes it: its fields by their JSON names, and nothing of their patterns.
pub(super) fn path(method: &DescribedMethod, template: &str) -> String {
    let mut path = template.replace("=**}", "}").replace("=*}", "}");
    for field in path_fields(method, template) {
        let proto: Vec<_> = field.iter().map(FieldDescriptor::name).collect();
        path = path.replace(&format!("{{{}}}", proto.join(".")), &format!("{{{}}}", json_path(&field)));
    }
    path
}

/// The operation of the methods that share a path and a verb: one, or a unary and a streaming one.
pub(super) fn operation(
    bindings: &[BoundMethod<'_>],
    comments: &ProtoComments,
    schemas: &mut Schemas,
) -> Value {
    let unary = bindings.iter().find(|(method, _)| !method.method.streams);
    let stream = bindings.iter().find(|(method, _)| method.method.streams);
    let Some(&(main, binding)) = unary.or(stream) else { return Value::Null };
    let mut operation = Map::new();
    let mut insert = |name: &str, value: Value| operation.insert(name.to_owned(), value);

    insert("operationId", json!(operation_id(main, binding)));
    insert("tags", json!([main.descriptor.parent_service().name()]));
    let text = described(bindings, comments);
    if !text.is_empty() {
        insert("summary", json!(summary(&text)));
        insert("description", json!(text));
    }
    insert("x-omnirelay-scope", json!(main.policy.scope.map_or(NO_SCOPE, Scope::word)));
    if main.policy.exchange {
        insert("x-omnirelay-exchange", json!(true));
    }
    if main.policy.sibling {
        insert("x-omnirelay-sibling", json!(true));
    }
    insert("x-omnirelay-method", json!(main.method.path));
    if let (Some(_), Some((stream, _))) = (unary, stream) {
        insert("x-omnirelay-stream-method", json!(stream.method.path));
    }
    if binding.dialect == Dialect::Origin {
        insert("x-omnirelay-origin-json", json!(true));
    }
    let parameters = operation_parameters(bindings, comments, schemas);
    if !parameters.is_empty() {
        insert("parameters", Value::Array(parameters));
    }
    if let Some(body) = request_body(main, binding, comments, schemas) {
        insert("requestBody", body);
    }
    insert("responses", answers(bindings, comments, schemas));
    Value::Object(operation)
}

/// What the protos say of the methods; the streaming one's words come after.
fn described(bindings: &[BoundMethod<'_>], comments: &ProtoComments) -> String {
    let mut sorted: Vec<_> = bindings.iter().map(|(method, _)| method).collect();
    sorted.sort_by_key(|method| method.method.streams);
    let texts = sorted.iter().filter_map(|method| {
        let service = method.descriptor.parent_service();
        comments.of(&service.parent_file(), method.descriptor.path())
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

/// `PeerControlService_List`; a further route of a method has its verb and path behind it.
fn operation_id(method: &DescribedMethod, binding: &HttpBinding) -> String {
    let id = format!("{}_{}", method.descriptor.parent_service().name(), method.descriptor.name());
    let same = |known: &HttpBinding| known.template == binding.template && known.verb == binding.verb;
    let further = method.bindings.iter().position(same).unwrap_or(0);
    if further == 0 { id } else { format!("{id}_{}", further + 1) }
}

fn operation_parameters(
    bindings: &[BoundMethod<'_>],
    comments: &ProtoComments,
    schemas: &mut Schemas,
) -> Vec<Value> {
    let Some((main, _)) = bindings.first() else { return Vec::new() };
    let mut parameters = merged(bindings, comments, schemas);
    let mut refer = |name: &str| parameters.push(json!({"$ref": format!("#/components/parameters/{name}")}));
    if bindings.iter().any(|(method, _)| method.method.streams && has_since(method)) {
        refer("LastEventId");
    }
    if main.method.mutates() {
        refer("IdempotencyKey");
        refer("IfMatch");
    }
    if bindings.iter().any(is_cacheable) {
        refer("IfNoneMatch");
    }
    refer("Timeout");
    refer("RequestId");
    parameters
}

/// Whether an answer the caller has already is not sent again.
fn is_cacheable((method, binding): &BoundMethod<'_>) -> bool {
    method.policy.cacheable && !method.method.streams && binding.verb == http::Method::GET
}

/// The parameters of each method once; one that only some take says which.
fn merged(bindings: &[BoundMethod<'_>], comments: &ProtoComments, schemas: &mut Schemas) -> Vec<Value> {
    let by_method: Vec<_> = bindings
        .iter()
        .map(|(method, binding)| {
            (method.method.streams, field_parameters(method, binding, comments, schemas))
        })
        .collect();
    let takes =
        |parameters: &[(String, Value)], name: &str| parameters.iter().any(|(known, _)| known == name);
    let mut merged: Vec<(String, Value)> = Vec::new();
    for (streams, parameters) in &by_method {
        for (name, parameter) in
            parameters.iter().filter(|(name, _)| !takes(&merged, name)).collect::<Vec<_>>()
        {
            let mut parameter = parameter.clone();
            if !by_method.iter().all(|(_, others)| takes(others, name)) {
                let only = if *streams { "Only for a stream." } else { "Not for a stream." };
                let text = parameter["description"].as_str().map(|text| format!("{text} {only}"));
                parameter["description"] = json!(text.unwrap_or_else(|| only.to_owned()));
            }
            merged.push((name.clone(), parameter));
        }
    }
    merged.into_iter().map(|(_, parameter)| parameter).collect()
}

fn has_since(method: &DescribedMethod) -> bool {
    method.input().get_field_by_name("since").is_some()
}

/// The parameters in the path and, where the body does not take all fields, in the query.
fn field_parameters(
    method: &DescribedMethod,
    binding: &HttpBinding,
    comments: &ProtoComments,
    schemas: &mut Schemas,
) -> Vec<(String, Value)> {
    let in_path = path_fields(method, &binding.template);
    let takes_slashes =
        PathTemplate::parse(&binding.template).is_ok_and(|(template, _)| template.takes_slashes());
    let with_slashes = in_path.last().filter(|_| takes_slashes);
    let mut found: Vec<_> = in_path.iter().map(|field| (field.clone(), "path")).collect();
    if binding.body != "*" {
        let mut fields = Vec::new();
        collect_query(&method.input().fields().collect::<Vec<_>>(), &mut Vec::new(), &mut fields);
        let taken = |field: &FieldPath| field.first().is_some_and(|field| field.name() == binding.body);
        fields.retain(|field| !in_path.contains(field) && !taken(field));
        found.extend(fields.into_iter().map(|field| (field, "query")));
    }
    found
        .into_iter()
        .filter_map(|(path, place)| {
            let name = json_path(&path);
            let field = path.last()?;
            let mut parameter = json!({"name": name, "in": place});
            if place == "path" {
                parameter["required"] = json!(true);
            }
            let said = comments.of(&field.parent_file(), field.path());
            let slashes = (with_slashes == Some(&path)).then_some(TAKES_SLASHES);
            let texts: Vec<_> = said.into_iter().chain(slashes).collect();
            if !texts.is_empty() {
                parameter["description"] = json!(texts.join("\n\n"));
            }
            parameter["schema"] = schemas.field(field, binding.dialect, &ProtoComments::default());
            Some((name, parameter))
        })
        .collect()
}

/// Every field that text can fill, through singular messages.
fn collect_query(fields: &[FieldDescriptor], parents: &mut FieldPath, into: &mut Vec<FieldPath>) {
    for field in fields {
        parents.push(field.clone());
        let kind = field.kind();
        match &kind {
            _ if takes_text(field) => into.push(parents.clone()),
            Kind::Message(inner)
                if parents.len() < QUERY_DEPTH_MAX
                    && !field.is_list()
                    && !field.is_map()
                    && !is_well_known(inner) =>
            {
                collect_query(&inner.fields().collect::<Vec<_>>(), parents, into);
            }
            _ => {}
        }
        parents.pop();
    }
}

fn request_body(
    method: &DescribedMethod,
    binding: &HttpBinding,
    comments: &ProtoComments,
    schemas: &mut Schemas,
) -> Option<Value> {
    let input = method.input();
    let schema = match binding.body.as_str() {
        "" => return None,
        "*" => {
            let in_path = path_fields(method, &binding.template);
            let without: Vec<_> = in_path.into_iter().filter_map(|path| path.first().cloned()).collect();
            let mut schema = schemas.object(&input, &without, binding.dialect, comments);
            let required: Vec<_> = input.fields().filter(is_required).collect();
            take_null(&mut schema, |name| !required.iter().any(|field| field.json_name() == name));
            schema
        }
        name => schemas.field(&input.get_field_by_name(name)?, binding.dialect, comments),
    };
    let required = binding.body == "*" && input.fields().any(|field| is_required(&field));
    Some(json!({"required": required, "content": {AnswerForm::Json.media_type(): {"schema": schema}}}))
}

/// Lets these properties be null as well: to a request that is as if they were not there.
fn take_null(object: &mut Value, is_optional: impl Fn(&str) -> bool) {
    let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (_, schema) in properties.iter_mut().filter(|(name, _)| is_optional(name)) {
        match schema.get_mut("type") {
            Some(kind) => *kind = json!([kind.take(), "null"]),
            None => *schema = json!({"anyOf": [schema.take(), {"type": "null"}]}),
        }
    }
}

fn answers(bindings: &[BoundMethod<'_>], comments: &ProtoComments, schemas: &mut Schemas) -> Value {
    let mut content = Map::new();
    for (method, binding) in bindings {
        let output = method.output();
        let schema = match output.get_field_by_name(&binding.response_body) {
            Some(field) => schemas.field(&field, binding.dialect, comments),
            None => schemas.message(&output, binding.dialect),
        };
        if !method.method.streams {
            content.insert(AnswerForm::Json.media_type().to_owned(), json!({"schema": schema}));
            continue;
        }
        let events = match binding.response_body.as_str() {
            "" => "Server-sent events; the data of each is a document.",
            _ => {
                "Server-sent events; the data of each is a document. One without data only moves the id to resume from."
            }
        };
        for (form, text) in [(AnswerForm::EventStream, events), (AnswerForm::Lines, "One document a line.")] {
            // What a stream's pieces are has no keyword of its own before OpenAPI 3.2.
            let stream = json!({
                "type": "string", "description": text,
                "contentMediaType": "application/json", "contentSchema": schema,
            });
            content.insert(form.media_type().to_owned(), json!({"schema": stream}));
        }
    }
    let cacheable = bindings.iter().any(is_cacheable);
    let mut headers = Map::new();
    let names = [("ETag", "ETag"), ("omnirelay-cursor", "Cursor"), ("x-request-id", "RequestId")];
    for (name, component) in names.into_iter().filter(|(name, _)| cacheable || *name != "ETag") {
        headers.insert(name.to_owned(), json!({"$ref": format!("#/components/headers/{component}")}));
    }
    let mut answers = json!({"200": {"description": "The answer.", "headers": headers, "content": content}});
    if cacheable {
        answers["304"] = json!({"$ref": "#/components/responses/NotModified"});
    }
    answers["default"] = json!({"$ref": "#/components/responses/Problem"});
    answers
}

/// The fields a template's variables fill, in its order.
fn path_fields(method: &DescribedMethod, template: &str) -> Vec<FieldPath> {
    let fields = PathTemplate::parse(template).map(|(_, fields)| fields).unwrap_or_default();
    fields.iter().filter_map(|field| resolve(&method.input(), field)).collect()
}

fn json_path(path: &FieldPath) -> String {
    path.iter().map(FieldDescriptor::json_name).collect::<Vec<_>>().join(".")
}

/// A version as an `ETag` has it, weak or strong, or without its quotes; or any.
const IF_MATCH: &str = r#"^(\*|(W/)?("[0-9]{1,19}"|[0-9]{1,19}))$"#;
/// A sum of whole numbers with their units.
const TIMEOUT: &str = "^([0-9]{1,9} ?(ns|us|ms|s|m|h|d) ?)+$";

/// The headers any call may carry.
pub(super) fn parameters() -> Value {
    let header = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "header", "description": description, "schema": schema});
    let key = json!({"type": "string", "pattern": "^[!-~]{1,128}$"});
    json!({
        "IdempotencyKey": header("Idempotency-Key",
            "Names the change: repeated with the same key it is applied once, and answered as before.", key),
        "IfMatch": header("If-Match",
            "The version the caller read, as the object's ETag has it; `*`: any, but it must exist.",
            json!({"type": "string", "pattern": IF_MATCH})),
        "IfNoneMatch": header("If-None-Match",
            "An ETag: when the answer would be the same, it is 304 without a body.", json!({"type": "string"})),
        "LastEventId": header("Last-Event-ID",
            "The id of the last event that was read, as browsers send it when they reconnect; goes before `since`.",
            json!({"type": "string"})),
        "RequestId": header("x-request-id",
            "Names the request in answers and logs: 1 to 128 visible characters. Made up when it is absent or anything else.",
            json!({"type": "string"})),
        "Timeout": header("omnirelay-timeout",
            "How long the call may take, such as `250ms` or `2m`: 10 s when absent, at most 5 minutes. A stream has no end unless it names one.",
            json!({"type": "string", "pattern": TIMEOUT})),
    })
}

/// The headers answers carry.
pub(super) fn headers() -> Value {
    let header = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "Cursor": header("Where the registry stood: give it to a watch, or as `minRevision` to another daemon."),
        "ETag": header("The version of the one object that was answered, or an opaque tag of a list."),
        "RequestId": header("The name of the request in the daemon's log."),
    })
}

/// The answers every operation shares.
pub(super) fn responses() -> Value {
    let text = json!({"type": "string"});
    json!({
        "NotModified": {"description": "The caller has this answer already."},
        "Problem": {
            "description": "Why there is no answer.",
            "content": {problem::CONTENT_TYPE: {"schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "code", "reason", "message", "exitCode", "retryable", "requestId", "details"],
                "properties": {
                    "type": {"type": "string", "format": "uri"},
                    "title": text,
                    "status": {"type": "integer"},
                    "detail": text,
                    "code": {"type": "string", "description": "The gRPC code as a word, such as `not_found`."},
                    "reason": {"type": "string", "description": "A stable word such as `PEER_NOT_FOUND`."},
                    "message": text,
                    "hint": {"type": "string", "description": "What to do next."},
                    "exitCode": {"type": "integer", "description": "What the command line exits with."},
                    "retryable": {"type": "boolean", "description": "The same request may succeed later."},
                    "requestId": text,
                    "details": {"type": "array", "items": {"type": "object", "additionalProperties": text}},
                },
            }}},
        },
    })
}
