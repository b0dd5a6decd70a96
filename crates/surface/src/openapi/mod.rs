//! The OpenAPI 3.1 document, made from the descriptors.
//!
//! The order of everything in it is fixed, so that a change of the API is a readable change of the document.

mod comments;
mod operation;
mod schema;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh64::xxh64;

use super::SurfaceError;
use super::method::{DescribedMethod, ServiceDefinition, describe};
use comments::ProtoComments;
use schema::Schemas;

/// Where the document is served, and under the alias of all `/control` routes.
pub(super) const PATH: &str = "/control/openapi.json";

/// Writes the document of every service of these definitions, as it is checked in.
///
/// # Errors
/// [`SurfaceError`] when a definition cannot be served.
pub fn openapi(definitions: &[ServiceDefinition]) -> Result<String, SurfaceError> {
    let methods = describe(definitions, |_| true)?;
    let mut text = serde_json::to_string_pretty(&document(definitions, &methods)).unwrap_or_default();
    text.push('\n');
    Ok(text)
}

/// The OpenAPI document of what is served.
pub(super) struct OpenApiDocument {
    pub json: Bytes,
    pub etag: HeaderValue,
}

/// The document, put together when it is first asked for: few ever ask.
pub(super) type LazyDocument = LazyLock<OpenApiDocument, Box<dyn FnOnce() -> OpenApiDocument + Send>>;

impl OpenApiDocument {
    pub(super) fn lazy(definitions: &[ServiceDefinition], methods: Vec<DescribedMethod>) -> LazyDocument {
        let definitions = definitions.to_vec();
        LazyLock::new(Box::new(move || Self::of(&definitions, &methods)))
    }

    fn of(definitions: &[ServiceDefinition], methods: &[DescribedMethod]) -> Self {
        let json = serde_json::to_vec(&document(definitions, methods)).unwrap_or_default();
        let etag = format!("\"{:016x}\"", xxh64(&json, 0));
        let etag = HeaderValue::try_from(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Self { json: json.into(), etag }
    }
}

/// The document of these methods.
fn document(definitions: &[ServiceDefinition], methods: &[DescribedMethod]) -> Value {
    let comments = ProtoComments::of_files(definitions);
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, BTreeMap<usize, Vec<operation::BoundMethod<'_>>>> = BTreeMap::new();
    for method in methods {
        for binding in &method.bindings {
            let verbs = paths.entry(operation::path(method, &binding.template)).or_default();
            verbs.entry(rank(&binding.verb)).or_default().push((method, binding));
        }
    }
    let mut items = Map::new();
    for (path, verbs) in paths {
        let mut item = Map::new();
        for bindings in verbs.values() {
            let Some((_, binding)) = bindings.first() else { continue };
            let verb = binding.verb.as_str().to_ascii_lowercase();
            item.insert(verb, operation::operation(bindings, &comments, &mut schemas));
        }
        items.insert(path, Value::Object(item));
    }
    json!({
        "openapi": "3.1.0",
        "info": info(),
        "tags": tags(methods, &comments),
        "paths": items,
        "components": {
            "schemas": schemas.finish(&comments),
            "parameters": operation::parameters(),
            "headers": operation::headers(),
            "responses": operation::responses(),
        },
    })
}

fn info() -> Value {
    json!({
        "title": "OmniRelay",
        "summary": "The control daemon of a service mesh",
        "description": "JSON is the canonical mapping of the protocol buffers: 64-bit integers are strings, \
            times are RFC 3339 in UTC, enums are lower-case words. Fields without presence are always \
            printed; an absent one is unknown. New fields and words may appear at any time. Routes that \
            stream do so when `Accept` names `text/event-stream` or `application/x-ndjson`. Every `/control` \
            route stands under `/omnirelay/control` as well. Operations with `x-omnirelay-origin-json` speak \
            the JSON of the system they come from: 64-bit integers are numbers, and unknown fields of a body \
            are ignored; their requests may have such integers as strings, too.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// One tag a service that has routes, named like it.
fn tags(methods: &[DescribedMethod], comments: &ProtoComments) -> Value {
    let mut tags = BTreeMap::new();
    for method in methods.iter().filter(|method| !method.bindings.is_empty()) {
        let service = method.descriptor.parent_service();
        let mut tag = Map::from_iter([("name".to_owned(), json!(service.name()))]);
        if let Some(text) = comments.of(&service.parent_file(), service.path()) {
            tag.insert("description".to_owned(), json!(text));
        }
        tags.insert(service.name().to_owned(), Value::Object(tag));
    }
    tags.into_values().collect()
}

/// The order of verbs within a path.
fn rank(verb: &http::Method) -> usize {
    let order = [http::Method::GET, http::Method::PUT, http::Method::POST, http::Method::DELETE];
    order.iter().position(|known| known == verb).unwrap_or(order.len())
}
