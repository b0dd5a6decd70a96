//! Unary calls: the same answers over gRPC and HTTP.

use std::collections::BTreeMap;

use omnirelay_fixture::fixture::v1::{
    EchoRequest, EchoResponse, Inner, PutRequest, colour, echo_request::Choice,
};
use omnirelay_wire::timestamp::Timestamp;
use serde_json::json;

use crate::fixture::{Served, json};

/// A request with a value in every kind of field.
fn every_kind() -> EchoRequest {
    EchoRequest {
        name: "a:b".to_owned(),
        int32_field: -7,
        int64_field: i64::MIN,
        uint64_field: u64::MAX,
        double_field: 1.5,
        bool_field: true,
        bytes_field: vec![0xfb, 0xff, 0x00],
        maybe: Some(String::new()),
        tags: vec!["x".to_owned(), "y,z".to_owned()],
        inners: vec![Inner { text: "one".to_owned(), big: 1 }, Inner::default()],
        counts: BTreeMap::from([("k".to_owned(), -1)]),
        colour: colour::Name::Green.into(),
        at: Some(Timestamp { seconds: 1_700_000_000, nanos: 500_000_000 }),
        inner: Some(Inner { text: "deep \"quoted\" \u{1f600}".to_owned(), big: i64::MAX }),
        choice: Some(Choice::Number(0)),
    }
}

#[tokio::test]
async fn both_protocols_give_the_same_answer() {
    let served = Served::start().await;
    let request = every_kind();
    let mut over_grpc = tonic::Request::new(request.clone());
    over_grpc.metadata_mut().insert("x-request-id", "same".parse().unwrap());
    let over_grpc = served.grpc().await.echo(over_grpc).await.unwrap().into_inner();

    let mut body = serde_json::to_value(&request).unwrap();
    body.as_object_mut().unwrap().remove("name");
    let response = served
        .http
        .post(served.url("/fixture/a:b:echo"))
        .header("content-type", "application/json; charset=utf-8")
        .header("x-request-id", "same")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let document = json(response).await;
    let over_http: EchoResponse = serde_json::from_value(document.clone()).unwrap();

    assert_eq!(over_grpc.request.as_ref(), Some(&request));
    assert_eq!(over_http, over_grpc);
    assert_eq!(
        document["request"],
        json!({
            "name": "a:b",
            "int32Field": -7,
            "int64Field": "-9223372036854775808",
            "uint64Field": "18446744073709551615",
            "doubleField": 1.5,
            "boolField": true,
            "bytesField": "+/8A",
            "maybe": "",
            "tags": ["x", "y,z"],
            "inners": [{"text": "one", "big": "1"}, {"text": "", "big": "0"}],
            "counts": {"k": "-1"},
            "colour": "green",
            "at": "2023-11-14T22:13:20.500Z",
            "inner": {"text": "deep \"quoted\" \u{1f600}", "big": "9223372036854775807"},
            "number": 0,
        })
    );
}

#[tokio::test]
async fn defaults_are_printed_and_the_absent_is_not() {
    let served = Served::start().await;
    let document = json(served.get("/fixture/x").await).await;
    assert_eq!(
        document["request"],
        json!({
            "name": "x", "int32Field": 0, "int64Field": "0", "uint64Field": "0", "doubleField": 0.0,
            "boolField": false, "bytesField": "", "tags": [], "inners": [], "counts": {},
            "colour": "unspecified",
        })
    );
}

#[tokio::test]
async fn one_field_is_the_body_and_one_the_answer() {
    let served = Served::start().await;
    let response = served
        .http
        .put(served.url("/fixture/x/inner"))
        .header("content-type", "application/json")
        .body(r#"{"text":"t","big":9007199254740993}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), r#"{"text":"t","big":"9007199254740993"}"#);

    let absent = served.http.put(served.url("/fixture/x/inner")).send().await.unwrap();
    assert_eq!((absent.status().as_u16(), absent.text().await.unwrap().as_str()), (200, "null"));

    let inner = Some(Inner { text: "t".to_owned(), big: 9_007_199_254_740_993 });
    let request = PutRequest { name: "x".to_owned(), inner: inner.clone() };
    assert_eq!(served.grpc().await.put(request).await.unwrap().into_inner().inner, inner);
}
