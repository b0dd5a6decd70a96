//! The OpenAPI document: complete, valid by a validator of its own, checked in, served.

use omnirelay_surface::{OMNIRELAY, openapi};
use roas::v3_1::spec::Spec;
use roas::validation::{Options, Validate as _};
use serde_json::{Value, json};

use crate::fixture::{FIXTURE, Served, header, json as document};
use crate::generated;

/// What the validator finds wrong: structure and types of every object of OpenAPI 3.1, references that lead
/// nowhere, path parameters that are not declared or not in the path, operation ids given twice, undeclared
/// tags, components that nothing uses.
fn faults_of(document: &Value) -> Vec<String> {
    let spec: Spec = match serde_json::from_value(document.clone()) {
        Ok(spec) => spec,
        Err(error) => return vec![error.to_string()],
    };
    // It does not look into `contentSchema`, where the messages of streams stand; `dangling` does.
    match spec.validate(Options::IgnoreUnusedSchemas.into(), None) {
        Ok(()) => dangling(document),
        Err(report) => report.errors.iter().map(ToString::to_string).collect(),
    }
}

/// References to places the document does not have.
fn dangling(document: &Value) -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    found.push(reference.clone());
                }
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(document, &mut found);
    found.retain(|reference| {
        reference.strip_prefix('#').is_none_or(|pointer| document.pointer(pointer).is_none())
    });
    found
}

fn of(definitions: &[omnirelay_surface::ServiceDefinition]) -> Value {
    serde_json::from_str(&openapi(definitions).unwrap()).unwrap()
}

#[test]
fn the_document_is_valid_and_checked_in() {
    let text = openapi(&[OMNIRELAY]).unwrap();
    assert_eq!(text, openapi(&[OMNIRELAY]).unwrap(), "its order is fixed");
    assert_eq!(faults_of(&of(&[OMNIRELAY])), Vec::<String>::new());
    generated::check("diagnostics.openapi.json", &text);
}

#[test]
fn the_validator_refuses_broken_documents() {
    let sound = of(&[OMNIRELAY, FIXTURE]);
    assert_eq!(faults_of(&sound), Vec::<String>::new());
    type Break = fn(&mut Value);
    let breaks: [(&str, Break); 8] = [
        ("no info", |document| drop(document.as_object_mut().unwrap().remove("info"))),
        ("no title", |document| document["info"]["title"] = json!("")),
        ("a reference to nothing", |document| {
            document["paths"]["/fixture/{name}"]["get"]["responses"]["default"]["$ref"] =
                json!("#/components/responses/Nothing");
        }),
        ("a stream's message that is not there", |document| {
            document["components"]["schemas"].as_object_mut().unwrap().remove("fixture.v1.CountResponse");
        }),
        ("a path parameter that is not declared", |document| {
            document["paths"]["/fixture/{name}"]["get"]["parameters"].as_array_mut().unwrap().remove(0);
        }),
        ("an operation id given twice", |document| {
            document["paths"]["/fixture"]["get"]["operationId"] = json!("FixtureService_Find");
        }),
        ("a response without description", |document| {
            document["components"]["responses"]["NotModified"] = json!({});
        }),
        ("a parameter nowhere", |document| {
            document["paths"]["/fixture/{name}"]["get"]["parameters"][0]["in"] = json!("body");
        }),
    ];
    for (what, break_it) in breaks {
        let mut document = sound.clone();
        break_it(&mut document);
        assert_ne!(document, sound, "{what} changed nothing");
        assert_ne!(faults_of(&document), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn every_kind_of_field_has_its_schema() {
    let document = of(&[FIXTURE, OMNIRELAY]);
    let schemas = &document["components"]["schemas"];
    let echo = &schemas["fixture.v1.EchoRequest"];
    let property = |name: &str| echo["properties"][name].clone();
    assert_eq!(property("int32Field"), json!({"type": "integer", "format": "int32"}));
    assert_eq!(property("int64Field"), json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}));
    assert_eq!(property("uint64Field"), json!({"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}));
    assert_eq!(property("doubleField"), json!({"type": "number", "format": "double"}));
    assert_eq!(property("boolField"), json!({"type": "boolean"}));
    assert_eq!(property("bytesField"), json!({"type": "string", "contentEncoding": "base64"}));
    assert_eq!(property("tags"), json!({"type": "array", "items": {"type": "string"}}));
    let inner = json!({"$ref": "#/components/schemas/fixture.v1.Inner"});
    assert_eq!(property("inner"), inner);
    assert_eq!(property("inners"), json!({"type": "array", "items": inner}));
    assert_eq!(property("counts")["additionalProperties"]["format"], "int64");
    assert_eq!(property("at"), json!({"type": "string", "format": "date-time"}));
    assert_eq!(property("colour"), json!({"$ref": "#/components/schemas/fixture.v1.Colour.Name"}));
    assert_eq!(schemas["fixture.v1.Colour.Name"]["enum"], json!(["unspecified", "red", "green"]));
    assert_eq!(echo["allOf"], json!([{"not": {"required": ["word", "number"]}}]));
    assert_eq!(
        schemas["fixture.v1.EchoResponse"]["properties"]["principal"]["description"],
        "Who the pipeline took the caller for."
    );
    let peer = &schemas["omnirelay.mesh.control.v1.Peer"]["properties"];
    let name = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$";
    assert_eq!(peer["nodeId"]["pattern"], name);
    let metadata = &schemas["omnirelay.mesh.control.v1.PeerMetadata"]["properties"];
    assert_eq!(
        (&metadata["role"]["pattern"], &metadata["clusterId"]["pattern"]),
        (&json!(name), &json!(name))
    );
    for place in ["region", "zone"] {
        assert_eq!(metadata[place]["pattern"], "^([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?$", "{place}");
    }
}

#[test]
fn only_what_is_answered_by_304_is_said_to_be() {
    let document = of(&[FIXTURE, OMNIRELAY]);
    let cases = [
        // verb, path, cacheable
        ("get", "/control/peers", true),
        ("get", "/control/peers/{nodeId}", true),
        ("get", "/fixture/{name}", true),
        ("get", "/fixture", false),
        ("get", "/control/node", false),
        ("get", "/control/audit", false),
        ("get", "/control/dev/nodes", false),
        ("post", "/control/dev/nodes/{nodeId}:kill", false),
        ("post", "/control/peers/{nodeId}:cordon", false),
    ];
    for (verb, path, cacheable) in cases {
        let operation = &document["paths"][path][verb];
        assert!(operation.is_object(), "{verb} {path}");
        let takes = operation["parameters"].to_string().contains("IfNoneMatch");
        let answers = &operation["responses"];
        let tagged = answers["200"]["headers"].get("ETag").is_some();
        assert_eq!(
            (takes, tagged, answers.get("304").is_some()),
            (cacheable, cacheable, cacheable),
            "{verb} {path}"
        );
    }
}

#[test]
fn every_route_is_described_from_its_rule() {
    let document = of(&[FIXTURE, OMNIRELAY]);
    let paths = &document["paths"];
    let echo = &paths["/fixture/{name}:echo"]["post"];
    assert_eq!(echo["operationId"], "FixtureService_Echo");
    assert_eq!(echo["x-omnirelay-scope"], "mesh.read");
    assert_eq!(echo["x-omnirelay-method"], "/fixture.v1.FixtureService/Echo");
    let body = &echo["requestBody"]["content"]["application/json"]["schema"]["properties"];
    assert!(body.get("tags").is_some() && body.get("name").is_none(), "the path has the name: {body}");

    let put = &paths["/fixture/{name}/inner"]["put"];
    let inner = json!({"$ref": "#/components/schemas/fixture.v1.Inner"});
    assert_eq!(put["requestBody"]["content"]["application/json"]["schema"], inner);
    assert_eq!(put["responses"]["200"]["content"]["application/json"]["schema"], inner);

    let follow = &paths["/inners"]["get"]["responses"]["200"]["content"];
    for form in ["text/event-stream", "application/x-ndjson"] {
        assert_eq!(follow[form]["schema"]["contentSchema"]["$ref"], inner["$ref"], "{form}");
    }
    let moves = |path: &str| {
        let events = &paths[path]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"];
        events["description"].as_str().unwrap().contains("without data only moves the id")
    };
    assert_eq!((moves("/inners"), moves("/fixture")), (true, false));

    let find = paths["/fixture/{name}"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<_> = find.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
    assert_eq!(names[..3], ["name", "int32Field", "int64Field"]);
    assert!(names.contains(&"inner.text") && !names.contains(&"counts"), "{names:?}");

    // A list and its watch stand on one route.
    let peers = &paths["/control/peers"]["get"];
    assert_eq!(peers["x-omnirelay-method"], "/omnirelay.mesh.control.v1.PeerControlService/List");
    assert_eq!(peers["x-omnirelay-stream-method"], "/omnirelay.mesh.control.v1.PeerControlService/Watch");
    assert_eq!(peers["summary"], "Lists peers that match every given filter");
    let content = peers["responses"]["200"]["content"].as_object().unwrap();
    let forms: Vec<_> = content.keys().collect();
    assert_eq!(forms, ["application/json", "text/event-stream", "application/x-ndjson"]);
    assert_eq!(
        content["text/event-stream"]["schema"]["contentSchema"]["$ref"],
        "#/components/schemas/omnirelay.mesh.control.v1.PeerEvent"
    );
}

#[test]
fn a_path_that_takes_slashes_says_so() {
    let document = of(&[FIXTURE, OMNIRELAY]);
    let cases = [
        // verb, path, method, whether its variable takes slashes
        ("get", "/scopes/{scopeName}", "GetScope", true),
        ("get", "/scopes/{scopeName}:history", "ScopeHistory", true),
        ("post", "/scopes/{scopeName}:transfer", "TransferScope", true),
        ("get", "/scopes/{scopeName}/leader", "ScopeLeader", false),
    ];
    for (verb, path, method, takes_slashes) in cases {
        let operation = &document["paths"][path][verb];
        assert_eq!(operation["operationId"], format!("FixtureService_{method}"), "{path}");
        let mut said = "What is asked about.".to_owned();
        if takes_slashes {
            said.push_str(
                "\n\nIt may hold slashes, sent as they are or encoded; no part between them is empty.",
            );
        }
        assert_eq!(
            operation["parameters"][0],
            json!({
                "name": "scopeName", "in": "path", "required": true, "description": said,
                "schema": {"type": "string"},
            }),
            "{path}"
        );
    }
    // Only of the variable, not of a field that the query may fill.
    let others = document["paths"]["/scopes/{scopeName}"]["get"]["parameters"].as_array().unwrap();
    assert_eq!(others[1], json!({"name": "to", "in": "query", "schema": {"type": "string"}}));
}

#[tokio::test]
async fn the_document_of_what_is_served_is_served() {
    let served = Served::start().await;
    for path in ["/control/openapi.json", "/omnirelay/control/openapi.json"] {
        let response = served.get(path).await;
        assert_eq!(response.status(), 200);
        let etag = header(&response, "etag").unwrap().to_owned();
        let document = document(response).await;
        assert_eq!(faults_of(&document), Vec::<String>::new());
        assert!(document["paths"].get("/fixture").is_some());
        assert!(document["paths"].get("/control/peers").is_none(), "only what is served");
        let request = served.http.get(served.url(path)).header("if-none-match", etag);
        assert_eq!(request.send().await.unwrap().status(), 304);
    }
    assert_eq!(served.post("/control/openapi.json", "{}").await.status(), 405);
}
