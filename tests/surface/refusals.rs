//! Bad input: a precise refusal, early, in bounded memory.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use omnirelay_fixture::fixture::v1::{CountRequest, EchoRequest};
use omnirelay_surface::{BeginningCall, CallHold, CallJudge, ListenerLimits, SurfaceBuilder};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{Served, header, json as document};

async fn refusal(response: reqwest::Response, status: u16, what: &str) -> Value {
    assert_eq!(response.status(), status, "{what}");
    assert_eq!(header(&response, "content-type"), Some("application/problem+json"), "{what}");
    let request_id = header(&response, "x-request-id").unwrap().to_owned();
    let problem = document(response).await;
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(problem["requestId"], json!(request_id), "{what}");
    assert_eq!(problem["detail"], problem["message"], "{what}");
    problem
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_refused_where_it_does_not_fit() {
    let served = Served::start().await;
    let cases = [
        // body, reason, what the message must say
        (r#"{"tags":["#, "MALFORMED_JSON", "line 1, column 9"),
        (
            "{\n  \"maybe\": 1\n  \"tags\": []\n}",
            "MALFORMED_JSON",
            "line 3, column 3: expected `,` or a closing brace",
        ),
        (
            r#"{"maybe":"a","maybe":"b"}"#,
            "MALFORMED_JSON",
            "ambiguous: line 1, column 20: key `maybe` is given twice",
        ),
        ("[]", "INVALID_FIELD", "the document must be an object, not an array"),
        ("7", "INVALID_FIELD", "the document must be an object, not 7"),
        (r#"{"colur":"red"}"#, "UNKNOWN_FIELD", "unknown field `colur`; known are `name`, `int32Field`"),
        (r#"{"inners":[{},{"txt":1}]}"#, "UNKNOWN_FIELD", "`inners[1].txt`; known are `text`, `big`"),
        (r#"{"int32Field":"x"}"#, "INVALID_FIELD", "`int32Field` must be an integer from -2147483648"),
        (r#"{"int32Field":2147483648}"#, "INVALID_FIELD", "not 2147483648"),
        (r#"{"int32Field":1.5}"#, "INVALID_FIELD", "not 1.5"),
        (r#"{"uint64Field":-1}"#, "INVALID_FIELD", "`uint64Field` must be an integer from 0"),
        (r#"{"uint64Field":"18446744073709551616"}"#, "INVALID_FIELD", "18446744073709551616"),
        (r#"{"boolField":"true"}"#, "INVALID_FIELD", "`boolField` must be true or false, not \"true\""),
        (r#"{"doubleField":"much"}"#, "INVALID_FIELD", "`doubleField` must be a number"),
        (r#"{"bytesField":"!"}"#, "INVALID_FIELD", "`bytesField`"),
        (r#"{"maybe":{}}"#, "INVALID_FIELD", "`maybe` must be a string, not an object"),
        (r#"{"tags":"x"}"#, "INVALID_FIELD", "`tags` must be an array"),
        (r#"{"tags":["x",1]}"#, "INVALID_FIELD", "`tags[1]` must be a string, not 1"),
        (r#"{"inners":[{"big":true}]}"#, "INVALID_FIELD", "`inners[0].big` must be an integer"),
        (r#"{"counts":{"a":"b"}}"#, "INVALID_FIELD", "`counts[\"a\"]` must be an integer"),
        (r#"{"colour":"mauve"}"#, "INVALID_FIELD", "one of `unspecified`, `red`, `green`, not \"mauve\""),
        (r#"{"colour":9}"#, "INVALID_FIELD", "not 9"),
        (r#"{"at":"soon"}"#, "INVALID_FIELD", "`at`"),
        (r#"{"inner":[]}"#, "INVALID_FIELD", "`inner` must be an object, not an array"),
        (r#"{"word":"a","number":1}"#, "INVALID_FIELD", "only one of `choice`"),
        (r#"{"int32Field":1,"int32_field":2}"#, "INVALID_FIELD", "`int32Field` is given twice"),
        (r#"{"name":"other"}"#, "INVALID_FIELD", "`name` has one value in the path"),
    ];
    for (body, reason, says) in cases {
        let problem = refusal(served.post("/fixture/x:echo", body).await, 400, body).await;
        assert_eq!(problem["reason"], reason, "{body}: {problem}");
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains(says), "{body}: {message}");
    }
    let deep = format!("{}{}", r#"{"inner":"#.repeat(1000), "}".repeat(1000));
    assert_eq!(
        refusal(served.post("/fixture/x:echo", deep).await, 400, "deep").await["reason"],
        "MALFORMED_JSON"
    );
}

#[tokio::test]
async fn what_means_the_same_is_taken_in_each_spelling() {
    let served = Served::start().await;
    for body in [
        r#"{"int32Field":"5","uint64Field":"7","colour":1,"doubleField":"2.5","name":"x","maybe":null}"#,
        r#"{"int32_field":5,"uint64_field":7,"colour":"red","double_field":2.5}"#,
        r#"{"int32Field":5.0,"uint64Field":7e0,"colour":"red","doubleField":25e-1}"#,
    ] {
        let response = served.post("/fixture/x:echo", body).await;
        assert_eq!(response.status(), 200, "{body}");
        let echoed = document(response).await["request"].clone();
        assert_eq!(echoed["int32Field"], 5, "{body}");
        assert_eq!(echoed["uint64Field"], "7", "{body}");
        assert_eq!(echoed["colour"], "red", "{body}");
        assert_eq!(echoed["doubleField"], 2.5, "{body}");
        assert!(echoed.get("maybe").is_none(), "{body}");
    }
    assert_eq!(served.post("/fixture/x:echo", "").await.status(), 200, "no body is an empty one");
}

#[tokio::test]
async fn a_lenient_method_ignores_what_it_does_not_know() {
    let served = Served::start().await;
    let body = r#"{"tags":["a"],"future":{"x":1},"inner":{"text":"t","later":[]}}"#;
    let response = served.post("/lenient/x", body).await;
    assert_eq!(response.status(), 200);
    let echoed = document(response).await["request"].clone();
    assert_eq!(echoed["tags"], json!(["a"]));
    assert_eq!(echoed["inner"]["text"], "t");
    let problem =
        refusal(served.post("/lenient/x", r#"{"tags":1}"#).await, 400, "a wrong type is one still").await;
    assert_eq!(problem["reason"], "INVALID_FIELD");
    let large = format!(r#"{{"maybe":"{}"}}"#, "x".repeat(5000));
    assert_eq!(
        refusal(served.post("/lenient/x", large).await, 413, "its own limit").await["reason"],
        "BODY_TOO_LARGE"
    );
}

#[tokio::test]
async fn queries_fill_fields_by_either_name() {
    let served = Served::start().await;
    let query = "int32Field=-3&uint64_field=9&boolField=true&tags=a,b&tags=c%2Cd&colour=green\
                 &inner.text=deep+er&inner.big=12&at=2026-01-02T03:04:05Z&maybe=&doubleField=1e2";
    let response = served.get(&format!("/fixture/a%2Fb%3Ac?{query}")).await;
    assert_eq!(response.status(), 200);
    let echoed = document(response).await["request"].clone();
    assert_eq!(echoed["name"], "a/b:c");
    assert_eq!(echoed["int32Field"], -3);
    assert_eq!(echoed["uint64Field"], "9");
    assert_eq!(echoed["boolField"], true);
    assert_eq!(echoed["tags"], json!(["a", "b", "c,d"]));
    assert_eq!(echoed["colour"], "green");
    assert_eq!(echoed["inner"], json!({"text": "deep er", "big": "12"}));
    assert_eq!(echoed["at"], "2026-01-02T03:04:05Z");
    assert_eq!(echoed["maybe"], "");
    assert_eq!(echoed["doubleField"], 100.0);

    let cases = [
        ("colur=red", "UNKNOWN_PARAMETER", "unknown query parameter `colur`; known are `name`, `int32Field`"),
        ("inner=x", "UNKNOWN_PARAMETER", "`inner`"),
        ("inner.txt=x", "UNKNOWN_PARAMETER", "`inner.txt`"),
        ("counts=x", "UNKNOWN_PARAMETER", "`counts`"),
        ("inners.text=x", "UNKNOWN_PARAMETER", "`inners.text`"),
        ("int32Field=x", "INVALID_FIELD", "`int32Field` must be an integer"),
        (
            "int32Field=1&int32_field=2",
            "INVALID_FIELD",
            "`int32Field` has one value in the query and another",
        ),
        ("boolField=yes", "INVALID_FIELD", "true or false, not \"yes\""),
        ("colour=mauve", "INVALID_FIELD", "one of `unspecified`"),
        ("name=other", "INVALID_FIELD", "`name` has one value in the query and another"),
        ("maybe=%FF", "INVALID_ARGUMENT", "UTF-8"),
    ];
    for (query, reason, says) in cases {
        let problem = refusal(served.get(&format!("/fixture/x?{query}")).await, 400, query).await;
        assert_eq!(problem["reason"], reason, "{query}: {problem}");
        assert!(problem["message"].as_str().unwrap().contains(says), "{query}: {problem}");
    }
    let problem = refusal(served.post("/fixture/x:echo?maybe=1", "{}").await, 400, "body and query").await;
    assert_eq!(problem["reason"], "UNKNOWN_PARAMETER");
}

#[tokio::test]
async fn an_id_that_can_name_nothing_is_refused() {
    let served = Served::start().await;
    for (path, says) in [
        ("/fixture/a%00b".to_owned(), "control characters"),
        ("/fixture/a%0Ab".to_owned(), "control characters"),
        ("/fixture/%FF".to_owned(), "not UTF-8"),
        (format!("/fixture/{}", "x".repeat(10_000)), "has 10000 bytes; at most 1024"),
    ] {
        let problem = refusal(served.get(&path).await, 400, says).await;
        assert!(problem["message"].as_str().unwrap().contains(says), "{problem}");
        assert_eq!(problem["details"], json!([{"field": "name"}]));
    }
}

#[tokio::test]
async fn paths_and_verbs_that_are_not_there_are_said_to_be_not_there() {
    let served = Served::start().await;
    for path in ["/", "/fixture/", "/fixture/x/y", "/control/peers", "/omnirelay/fixture/x"] {
        let problem = refusal(served.get(path).await, 404, path).await;
        assert_eq!(problem["reason"], "ROUTE_UNKNOWN");
        assert_eq!(problem["exitCode"], 11, "an older daemon lacks it: incompatible, not absent");
    }
    let response = served.http.delete(served.url("/fixture/x")).send().await.unwrap();
    assert_eq!(header(&response, "allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(refusal(response, 405, "delete").await["reason"], "VERB_UNKNOWN");
    let response = served.post("/fixture/x:vanish", "{}").await;
    assert_eq!(refusal(response, 405, "an unknown custom verb").await["reason"], "VERB_UNKNOWN");
    let response =
        served.http.request(reqwest::Method::OPTIONS, served.url("/fixture/x/inner")).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(header(&response, "allow"), Some("OPTIONS, PUT"));
    assert!(header(&response, "access-control-allow-origin").is_none());
}

#[tokio::test]
async fn a_body_must_be_json() {
    let served = Served::start().await;
    for content_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/grpc-web")]
    {
        let mut request = served.http.post(served.url("/fixture/x:echo")).body("{}");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let problem = refusal(request.send().await.unwrap(), 415, "content-type").await;
        assert_eq!(problem["reason"], "UNSUPPORTED_MEDIA_TYPE", "{content_type:?}");
    }
    let request = served.http.post(served.url("/fixture/x:echo")).header("content-type", "application/json");
    let response = request.header("content-encoding", "br").body("{}").send().await.unwrap();
    assert_eq!(refusal(response, 415, "br").await["reason"], "UNSUPPORTED_MEDIA_TYPE");
    let request = served.http.get(served.url("/fixture/x")).header("content-type", "application/json");
    let response = request.body(r#"{"maybe":"x"}"#).send().await.unwrap();
    refusal(response, 400, "a body where none is taken").await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_limited_by_its_real_size() {
    let served = Served::start().await;
    let send = |bytes: Vec<u8>| {
        let request = served.http.post(served.url("/fixture/x:echo"));
        let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
        async move { request.body(bytes).send().await.unwrap() }
    };
    let echoed = document(send(gzip(br#"{"maybe":"zipped"}"#)).await).await;
    assert_eq!(echoed["request"]["maybe"], "zipped");
    let bomb = gzip(&vec![b' '; 200 * 1024 * 1024]);
    assert!(bomb.len() < 1024 * 1024);
    assert_eq!(refusal(send(bomb).await, 413, "bomb").await["reason"], "BODY_TOO_LARGE");
    let cut = gzip(br#"{"maybe":"zipped"}"#)[..12].to_vec();
    assert_eq!(refusal(send(cut).await, 400, "cut").await["reason"], "MALFORMED_GZIP");
}

/// Sends a request head, then body pieces until the answer is there; how much was sent, and the answer.
async fn send_until_answered(served: &Served, head: &str, piece: &[u8], pieces: usize) -> (usize, String) {
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    write.write_all(head.as_bytes()).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count) = read.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
            if count == 0 {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    });
    let mut sent = 0;
    for _ in 0..pieces {
        if write.write_all(piece).await.is_err() {
            break;
        }
        sent += piece.len();
    }
    (sent, reader.await.unwrap())
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_before_they_are_read() {
    let served = Served::start().await;
    let total = 100 * 1024 * 1024;
    let head = format!(
        "POST /fixture/x:echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {total}\r\n\r\n"
    );
    let piece = vec![b' '; 64 * 1024];
    let (sent, answer) = send_until_answered(&served, &head, &piece, total / piece.len()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("BODY_TOO_LARGE"), "{answer}");
    assert!(sent < 20 * 1024 * 1024, "{sent} bytes were taken of a declared body");

    let head = "POST /fixture/x:echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(&piece);
    chunk.extend_from_slice(b"\r\n");
    let (sent, answer) = send_until_answered(&served, head, &chunk, total / piece.len()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(sent < 20 * 1024 * 1024, "{sent} bytes were taken of an undeclared body");
}

#[tokio::test]
async fn a_body_that_never_ends_meets_its_deadline() {
    let served = Served::start().await;
    let head = "POST /fixture/x:echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                omnirelay-timeout: 200ms\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{";
    let (_, answer) =
        tokio::time::timeout(Duration::from_secs(5), send_until_answered(&served, head, b"", 0))
            .await
            .unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("DEADLINE_EXCEEDED"), "{answer}");
}

/// Judge that refuses whoever looks for a thing, and holds every other call until it is over.
#[derive(Clone, Default)]
struct CountingJudge(Arc<AtomicUsize>);

struct HeldCall(Arc<AtomicUsize>);

impl Drop for HeldCall {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl CallJudge for CountingJudge {
    fn begin(&self, call: &BeginningCall) -> Result<CallHold, Fault> {
        match call.method.rsplit('/').next() {
            Some("Find") if !call.is_watch => {
                Err(Fault::new(reasons::LIMIT_EXHAUSTED, "one too many")
                    .retry_after(Duration::from_millis(1500)))
            }
            Some("Count") if call.is_watch => {
                self.0.fetch_add(1, Ordering::SeqCst);
                Ok(Some(Box::new(HeldCall(self.0.clone()))))
            }
            other => panic!("{other:?} is judged as {call:?}"),
        }
    }
}

#[tokio::test]
async fn a_judge_refuses_calls_and_holds_streams_until_they_end() {
    let judge = CountingJudge::default();
    let held = judge.0.clone();
    let judged = move |mut builder: SurfaceBuilder| {
        builder.judge_calls(Arc::new(judge));
        builder
    };
    let served = Served::start_with(judged, ListenerLimits::default()).await;
    let refused = served.get("/fixture/x").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "retry-after"), Some("2"));
    let request = EchoRequest { name: "x".to_owned(), ..EchoRequest::default() };
    let status = served.grpc().await.find(request).await.unwrap_err();
    assert!(Fault::from(&status).is(reasons::LIMIT_EXHAUSTED), "{status:?}");

    let over_http = served.http.get(served.url("/fixture?upTo=1&failWith=hang")).send().await.unwrap();
    let request = CountRequest { up_to: 2, fail_with: "hang".to_owned(), ..CountRequest::default() };
    let over_grpc = served.grpc().await.count(request).await.unwrap();
    let is_held = async |many: usize| {
        for _ in 0..500 {
            if held.load(Ordering::SeqCst) == many {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} and not {many} are held", held.load(Ordering::SeqCst));
    };
    is_held(2).await;
    drop(over_http);
    is_held(1).await;
    drop(over_grpc);
    is_held(0).await;
}
