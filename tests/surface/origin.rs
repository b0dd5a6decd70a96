//! Routes that speak the JSON of another system, beside those of the same methods that do not.

use omnirelay_fixture::fixture::v1::fixture_service_server::FixtureServiceServer;
use omnirelay_fixture::fixture::v1::{Numbers, OfferRequest};
use omnirelay_surface::{OMNIRELAY, ServiceDefinition, Surface, openapi};
use serde_json::{Value, json};
use tonic::Code;

use crate::fixture::{FIXTURE, Operations, Served, header, json as document};

/// Beyond 2^53, where a double no longer says which integer it is.
const BIG: u64 = 9_007_199_254_740_993;

/// Numbers at every place; 64-bit integers as the canonical mapping has them.
fn canonical() -> Value {
    json!({
        "int64Field": "-9223372036854775808", "uint64Field": "18446744073709551615", "sint64Field": "-1",
        "fixed64Field": "9007199254740993", "sfixed64Field": "0", "maybe": "0",
        "list": ["1", "-2", "9223372036854775807"],
        "byName": {"a": "7", "b \"c\", {\u{1f600}": "8", "uint64Field": "9"},
        "names": {"5": "5", "-6": "[\"7\"]"},
        "deep": {"k": {
            "int64Field": "0", "uint64Field": "3", "sint64Field": "0", "fixed64Field": "0",
            "sfixed64Field": "0", "list": [], "byName": {}, "names": {}, "deep": {}, "more": [],
            "word": "4", "text": "", "small": 0, "real": 0.0, "colour": "unspecified", "raw": "",
        }},
        "more": [], "inside": {
            "int64Field": "1", "uint64Field": "0", "sint64Field": "0", "fixed64Field": "0",
            "sfixed64Field": "0", "list": [], "byName": {}, "names": {}, "deep": {}, "more": [],
            "text": "12, \"13\"", "small": 0, "real": 0.0, "colour": "unspecified", "raw": "",
        },
        "chosen": "10", "wrapped": "11", "text": "12", "small": -3, "real": 14.5, "colour": "green",
        "raw": "MTU=", "at": "2026-01-02T03:04:05Z",
    })
}

/// The same as the origin has it.
fn of_origin() -> Value {
    let mut document = canonical();
    let numbers = [
        ("/int64Field", json!(i64::MIN)),
        ("/uint64Field", json!(u64::MAX)),
        ("/sint64Field", json!(-1)),
        ("/fixed64Field", json!(BIG)),
        ("/sfixed64Field", json!(0)),
        ("/maybe", json!(0)),
        ("/list", json!([1, -2, i64::MAX])),
        ("/byName", json!({"a": 7, "b \"c\", {\u{1f600}": 8, "uint64Field": 9})),
        ("/chosen", json!(10)),
        ("/wrapped", json!(11)),
        ("/deep/k/uint64Field", json!(3)),
        ("/inside/int64Field", json!(1)),
    ];
    let zeros = ["/deep/k", "/inside"].into_iter().flat_map(|place| {
        let fields = ["int64Field", "uint64Field", "sint64Field", "fixed64Field", "sfixed64Field"];
        fields.map(|field| (format!("{place}/{field}"), json!(0)))
    });
    for (place, number) in zeros.chain(numbers.map(|(place, number)| (place.to_owned(), number))) {
        *document.pointer_mut(&place).unwrap() = number;
    }
    document
}

/// Sends a body to both routes of a method, and says what was shown on each.
async fn both(served: &Served, verb: reqwest::Method, path: &str, body: &Value) -> [Value; 2] {
    let ask = |prefix: &str| {
        let request = served.http.request(verb.clone(), served.url(&format!("/{prefix}{path}")));
        request.header("content-type", "application/json").body(body.to_string())
    };
    let mut shown = Vec::new();
    for prefix in ["plain", "origin"] {
        let response = ask(prefix).send().await.unwrap();
        assert_eq!(response.status(), 200, "{verb} {prefix} {body}");
        shown.push(document(response).await);
    }
    shown.try_into().unwrap()
}

#[tokio::test]
async fn integers_are_numbers_on_the_routes_of_the_origin_only() {
    let served = Served::start().await;
    // Requests may have them either way on either route, and `null` for what is absent.
    let mut with_null = of_origin();
    with_null["absent"] = Value::Null;
    for given in [canonical(), of_origin(), with_null] {
        let body = json!({"offer": given, "offers": [given, {}]});
        let [plain, origin] = both(&served, reqwest::Method::POST, "/a/offers", &body).await;
        assert_eq!(plain["offer"], canonical());
        assert_eq!(origin["offer"], of_origin());
        assert_eq!((&plain["offers"][0], &origin["offers"][0]), (&canonical(), &of_origin()));
        assert_eq!((&plain["textBytes"], &origin["textBytes"]), (&json!("2"), &json!(2)));
        assert!(origin["offers"][1].get("absent").is_none() && origin["offers"][1].get("maybe").is_none());
        // One field as body and as answer.
        let [plain, origin] = both(&served, reqwest::Method::PUT, "/a/offers", &given).await;
        assert_eq!((plain, origin), (canonical(), of_origin()));
    }
}

#[tokio::test]
async fn nothing_but_the_integers_is_written_otherwise() {
    let served = Served::start().await;
    let mut offer = canonical();
    // The order of a map is as it comes.
    offer["byName"] = json!({"b \"c\"": "8"});
    let body = json!({"offer": offer}).to_string();
    let plain = served.post("/plain/a/offers", body.clone()).await.text().await.unwrap();
    let origin = served.post("/origin/a/offers", body).await.text().await.unwrap();
    // The order of fields as well: only quotes are gone.
    let quotes = |text: &str| text.replace('"', "");
    assert_eq!(quotes(&plain), quotes(&origin));
    assert!(origin.contains(r#""uint64Field":18446744073709551615,"#), "{origin}");
}

#[tokio::test]
async fn a_field_of_the_answer_is_shown_alone() {
    let served = Served::start().await;
    let cases = [
        ("/origin/a/offers", json!([])),
        ("/origin/a/offers?count=0", json!([])),
        ("/origin/a/offers?count=2", json!([1, 2])),
        ("/plain/a/offers?count=2", json!(["1", "2"])),
    ];
    for (path, expected) in cases {
        let response = served.get(path).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "etag")),
            (200, Some("\"offers\"")),
            "{path}"
        );
        let text = response.text().await.unwrap();
        let shown: Value = serde_json::from_str(&text).unwrap();
        let list = if path.starts_with("/plain") { &shown["offers"] } else { &shown };
        let numbers: Vec<_> =
            list.as_array().unwrap().iter().map(|offer| offer["uint64Field"].clone()).collect();
        assert_eq!(json!(numbers), expected, "{path}: {text}");
    }
    assert_eq!(served.get("/origin/a/offers").await.text().await.unwrap(), "[]");
    // A message that is not set is a document nevertheless.
    let response = served.http.put(served.url("/origin/a/offers")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (200, "null"));
}

#[tokio::test]
async fn an_event_has_the_integers_of_its_route() {
    let served = Served::start().await;
    for (prefix, shown) in [
        ("plain", r#""uint64Field":"9007199254740993""#),
        ("origin", r#"{"int64Field":0,"uint64Field":9007199254740993,"#),
    ] {
        for (accept, begins) in [("text/event-stream", "data: {"), ("application/x-ndjson", "{")] {
            let url = served.url(&format!("/{prefix}/a/offers?offer.uint64Field={BIG}"));
            let text =
                served.http.get(url).header("accept", accept).send().await.unwrap().text().await.unwrap();
            let line = text.lines().find(|line| line.starts_with(begins));
            assert!(line.is_some_and(|line| line.contains(shown)), "{prefix} {accept}: {text}");
        }
    }
}

#[tokio::test]
async fn the_second_route_of_a_method_has_its_own_verb_body_and_answer() {
    let served = Served::start().await;
    let delete = |path: &str| served.http.delete(served.url(path));
    let shown = |response: reqwest::Response| async {
        assert_eq!(response.status(), 200);
        document(response).await
    };
    let plain = shown(delete("/plain/a/offers/x%2Fy?offer.uint64Field=7").send().await.unwrap()).await;
    assert_eq!((&plain["name"], &plain["offer"]["text"]), (&json!("a"), &json!("x/y")));
    assert_eq!(plain["offer"]["uint64Field"], "7");

    let origin = shown(delete("/origin/a/offers/x").send().await.unwrap()).await;
    assert_eq!((&origin["text"], &origin["uint64Field"]), (&json!("x"), &json!(0)));
    let with_body = delete("/origin/a/offers/x").header("content-type", "application/json");
    let origin = shown(with_body.body(r#"{"uint64Field":7,"later":1}"#).send().await.unwrap()).await;
    assert_eq!((&origin["text"], &origin["uint64Field"]), (&json!("x"), &json!(7)));

    let refused = delete("/plain/a/offers/x").header("content-type", "application/json").body("{}");
    let refused = refused.send().await.unwrap();
    assert_eq!(refused.status(), 400, "the first route takes no body");
    let refused = delete("/plain/a/offers").send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "allow")),
        (405, Some("GET, HEAD, OPTIONS, POST, PUT"))
    );
}

#[tokio::test]
async fn what_the_message_does_not_have_is_ignored_on_the_routes_of_the_origin_only() {
    let served = Served::start().await;
    let cases = [
        // what, body, reason on the plain route, reason on the origin's
        ("at the top", r#"{"later":{"x":[1]}}"#, "UNKNOWN_FIELD", ""),
        ("inside", r#"{"offer":{"later":1}}"#, "UNKNOWN_FIELD", ""),
        ("in a list", r#"{"offers":[{},{"later":null}]}"#, "UNKNOWN_FIELD", ""),
        ("in a map", r#"{"offer":{"deep":{"k":{"later":1}}}}"#, "UNKNOWN_FIELD", ""),
        ("a wrong type", r#"{"offer":{"text":1}}"#, "INVALID_FIELD", "INVALID_FIELD"),
        (
            "too large a number",
            r#"{"offer":{"int64Field":9223372036854775808}}"#,
            "INVALID_FIELD",
            "INVALID_FIELD",
        ),
        ("a fraction", r#"{"offer":{"uint64Field":1.5}}"#, "INVALID_FIELD", "INVALID_FIELD"),
        ("no JSON", r#"{"later":"#, "MALFORMED_JSON", "MALFORMED_JSON"),
        ("another name", r#"{"name":"b"}"#, "INVALID_FIELD", "INVALID_FIELD"),
        ("all known", r#"{"offer":{"int64Field":1}}"#, "", ""),
    ];
    for (what, body, plain, origin) in cases {
        for (prefix, reason) in [("plain", plain), ("origin", origin)] {
            let response = served.post(&format!("/{prefix}/a/offers"), body).await;
            assert_eq!(response.status(), if reason.is_empty() { 200 } else { 400 }, "{what}, {prefix}");
            let answer = document(response).await;
            assert_eq!(answer["reason"].as_str().unwrap_or_default(), reason, "{what}, {prefix}: {answer}");
        }
    }
    // A query is the caller's own on both.
    for prefix in ["plain", "origin"] {
        assert_eq!(served.get(&format!("/{prefix}/a/offers?later=1")).await.status(), 400, "{prefix}");
        let missing = served.get(&format!("/{prefix}/missing/offers")).await;
        assert_eq!(header(&missing, "content-type"), Some("application/problem+json"), "{prefix}");
        assert_eq!(
            (missing.status().as_u16(), document(missing).await["reason"].clone()),
            (404, json!("THING_NOT_FOUND"))
        );
    }
}

#[tokio::test]
async fn names_are_taken_in_any_case_on_the_routes_of_the_origin_only() {
    let served = Served::start().await;
    let cases = [
        // what, body, reason on the plain route, reason on the origin's
        ("capitals at the top", r#"{"Offers":[{"text":"12"}]}"#, "UNKNOWN_FIELD", ""),
        ("inside", r#"{"offers":[{"TEXT":"12"}]}"#, "UNKNOWN_FIELD", ""),
        ("the name of the proto", r#"{"OFFERS":[{"Uint64_Field":"1","text":"12"}]}"#, "UNKNOWN_FIELD", ""),
        ("twice", r#"{"offers":[{"text":"12","Text":"12"}]}"#, "UNKNOWN_FIELD", "INVALID_FIELD"),
        ("a wrong type", r#"{"Offers":{}}"#, "UNKNOWN_FIELD", "INVALID_FIELD"),
    ];
    for (what, body, plain, origin) in cases {
        for (prefix, reason) in [("plain", plain), ("origin", origin)] {
            let answer = document(served.post(&format!("/{prefix}/a/offers"), body).await).await;
            assert_eq!(answer["reason"].as_str().unwrap_or_default(), reason, "{what}, {prefix}: {answer}");
            if reason.is_empty() {
                assert_eq!(answer["offers"][0]["text"], "12", "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_field_that_is_required_must_be_there_if_only_empty() {
    let served = Served::start().await;
    let cases = [
        ("all of it", r#"{"basket":{"things":["a"]}}"#, true),
        ("an empty one", r#"{"basket":{"things":[]}}"#, true),
        ("no message that has it", r#"{}"#, true),
        ("none", r#"{"basket":{"all":true}}"#, false),
        ("nothing", r#"{"basket":{}}"#, false),
        ("null, which is none", r#"{"basket":{"things":null}}"#, false),
    ];
    for (what, body, fits) in cases {
        for prefix in ["plain", "origin"] {
            let response = served.post(&format!("/{prefix}/a/offers"), body).await;
            assert_eq!(response.status(), if fits { 200 } else { 400 }, "{what}, {prefix}");
            let answer = document(response).await;
            if !fits {
                assert_eq!(answer["reason"], "INVALID_FIELD", "{what}: {answer}");
                assert_eq!(answer["details"][0]["field"], "basket.things", "{what}: {answer}");
            }
        }
    }
    let document: Value = serde_json::from_str(&openapi(&[FIXTURE, OMNIRELAY]).unwrap()).unwrap();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["fixture.v1.Basket"]["required"], json!(["things"]));
    assert_eq!(schemas["fixture.v1.OfferRequest"].get("required"), None);
    for path in ["/control/registers/bulk-advertise", "/api/registers/bulk-advertise"] {
        let body = &document["paths"][path]["post"]["requestBody"];
        assert_eq!(body["required"], true, "{path}: {body}");
        let required = &body["content"]["application/json"]["schema"]["required"];
        assert_eq!(*required, json!(["advertisements"]), "{path}");
    }
}

#[tokio::test]
async fn grpc_knows_of_no_routes() {
    let served = Served::start().await;
    let offer = Numbers { uint64_field: BIG, ..Numbers::default() };
    let request =
        OfferRequest { name: "a".to_owned(), offer: Some(offer.clone()), ..OfferRequest::default() };
    assert_eq!(served.grpc().await.offer(request).await.unwrap().into_inner().offer, Some(offer));
    let missing = OfferRequest { name: "missing".to_owned(), ..OfferRequest::default() };
    assert_eq!(served.grpc().await.list_offers(missing).await.unwrap_err().code(), Code::NotFound);
}

/// The fixture with another text of the same length in the policies of its methods.
fn with_policy(below: &str) -> ServiceDefinition {
    let tagged = |text: &str| [&[0x32, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let (old, new) = (tagged("/origin/"), tagged(below));
    assert_eq!(old.len(), new.len());
    let mut descriptors = FIXTURE.descriptors.to_vec();
    let places: Vec<_> = (0..descriptors.len()).filter(|at| descriptors[*at..].starts_with(&old)).collect();
    assert_eq!(places.len(), 4, "each method's policy");
    for at in places {
        descriptors[at..at + new.len()].copy_from_slice(&new);
    }
    ServiceDefinition { descriptors: descriptors.leak(), ..FIXTURE }
}

#[tokio::test]
async fn a_policy_that_no_route_is_below_is_refused_at_start() {
    let cases = [
        ("/origin/", None),
        ("/nowhere", Some("`/nowhere`: none of the method's routes begins with it")),
        ("/Origin/", Some("`/Origin/`: none of the method's routes begins with it")),
        ("origin/x", Some("`origin/x`: it does not start with `/`")),
    ];
    for (below, says) in cases {
        let service = FixtureServiceServer::new(Operations::default());
        let built = Surface::builder([OMNIRELAY, with_policy(below)]).service(service).build();
        let refused = built.err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), says.is_some(), "{below}: {refused:?}");
        if let (Some(refused), Some(says)) = (refused, says) {
            assert!(refused.contains(says) && refused.contains("FixtureService/Offer"), "{refused}");
        }
    }
}

#[test]
fn the_document_says_which_routes_speak_otherwise() {
    let document: Value = serde_json::from_str(&openapi(&[FIXTURE, OMNIRELAY]).unwrap()).unwrap();
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/fixture.v1.{name}")});
    let operation = |path: &str, verb: &str| document["paths"][path][verb].clone();
    let body = |operation: &Value| operation["requestBody"]["content"]["application/json"]["schema"].clone();
    let answer =
        |operation: &Value| operation["responses"]["200"]["content"]["application/json"]["schema"].clone();

    let (plain, origin) =
        (operation("/plain/{name}/offers", "post"), operation("/origin/{name}/offers", "post"));
    assert_eq!(
        (&plain["x-omnirelay-origin-json"], &origin["x-omnirelay-origin-json"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(
        (answer(&plain), answer(&origin)),
        (reference("OfferResponse"), reference("OfferResponse-origin"))
    );
    let (plain, origin) = (body(&plain), body(&origin));
    assert_eq!(
        (&plain["additionalProperties"], &origin["additionalProperties"]),
        (&Value::Null, &json!(true))
    );
    let offer = |body: &Value| body["properties"]["offer"]["anyOf"].clone();
    assert_eq!(offer(&plain), json!([reference("Numbers"), {"type": "null"}]));
    assert_eq!(offer(&origin), json!([reference("Numbers-origin"), {"type": "null"}]));

    let list = answer(&operation("/origin/{name}/offers", "get"));
    assert_eq!(list, json!({"type": "array", "items": reference("Numbers-origin")}));
    let events =
        &operation("/origin/{name}/offers", "get")["responses"]["200"]["content"]["text/event-stream"];
    assert_eq!(events["schema"]["contentSchema"]["$ref"], reference("Numbers-origin")["$ref"]);

    let schemas = &document["components"]["schemas"];
    let numbers = &schemas["fixture.v1.Numbers-origin"];
    assert_eq!(numbers["additionalProperties"], true);
    let cases = [
        ("int64Field", json!({"type": "integer", "format": "int64"})),
        ("uint64Field", json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})),
        ("maybe", json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})),
        ("list", json!({"type": "array", "items": {"type": "integer", "format": "int64"}})),
        (
            "byName",
            json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0, "maximum": u64::MAX}}),
        ),
        ("names", json!({"type": "object", "additionalProperties": {"type": "string"}})),
        ("deep", json!({"type": "object", "additionalProperties": reference("Numbers-origin")})),
        ("inside", reference("Numbers-origin")),
        ("wrapped", json!({"type": "integer"})),
        ("small", json!({"type": "integer", "format": "int32"})),
    ];
    for (field, expected) in cases {
        assert_eq!(numbers["properties"][field], expected, "{field}");
    }
    assert_eq!(schemas["fixture.v1.Numbers"]["properties"]["int64Field"]["type"], "string");
    assert_eq!(schemas["fixture.v1.Numbers"].get("additionalProperties"), None);

    let mut ids: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id is given twice");
}
