//! What every call passes: identity, scope, deadline, ids, conditions, and no talk of our inside.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderMap;
use omnirelay_fixture::fixture::v1::{CountRequest, EchoRequest, PutRequest};
use omnirelay_identity::authenticate::{AllowedHosts, Authenticator, InsecureAuthenticator};
use omnirelay_identity::caller::{CallProtocol, PeerInfo, Principal, Scope, Scopes};
use omnirelay_surface::{FinishedCall, ListenerLimits, RequestObserver, SurfaceBuilder};
use omnirelay_wire::fault::{Code as FaultCode, Fault};
use omnirelay_wire::problem::Problem;
use omnirelay_wire::reasons::Reason;
use serde_json::json;
use tonic::Code;

use crate::fixture::{Served, header, json as document};

const NO_TOKEN: Reason = Reason { name: "NO_TOKEN", code: FaultCode::Unauthenticated, means: "", next: "" };

fn named(name: &str) -> EchoRequest {
    EchoRequest { name: name.to_owned(), ..EchoRequest::default() }
}

/// Lets everyone in as `reader`, who may only read; nobody without a token.
struct Readers;

impl Authenticator for Readers {
    fn authenticate(&self, _peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        if !headers.contains_key("authorization") {
            return Err(Fault::new(NO_TOKEN, "a token is needed"));
        }
        let scopes: Scopes = [Scope::MeshRead].into_iter().collect();
        Ok(Principal::unproven("reader", scopes))
    }
}

#[tokio::test]
async fn a_fault_says_the_same_over_both_protocols() {
    let served = Served::start().await;
    for (name, code, reason) in [
        ("missing", FaultCode::NotFound, "THING_NOT_FOUND"),
        ("bare", FaultCode::AlreadyExists, "ALREADY_EXISTS"),
        ("secret", FaultCode::Internal, "INTERNAL"),
        ("unknown", FaultCode::Internal, "INTERNAL"),
        ("panic", FaultCode::Internal, "INTERNAL"),
    ] {
        let mut request = tonic::Request::new(named(name));
        request.metadata_mut().insert("x-request-id", "r-7".parse().unwrap());
        let status = served.grpc().await.find(request).await.unwrap_err();
        let over_grpc = Fault::from(&status);
        let request = served.http.get(served.url(&format!("/fixture/{name}"))).header("x-request-id", "r-7");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), code.http(), "{name}");
        let body = response.bytes().await.unwrap();
        let problem = Problem::parse(&body).unwrap();

        assert_eq!(problem.fault, over_grpc, "{name}");
        assert_eq!((problem.fault.code, problem.fault.reason.as_ref()), (code, reason), "{name}");
        assert_eq!(problem.request_id, "r-7");
        assert_eq!(status.metadata().get("x-request-id").unwrap(), "r-7");
        assert!(!String::from_utf8_lossy(&body).contains("hunter2"), "{name}");
        assert!(!format!("{status:?}").contains("hunter2"), "{name}");
    }
}

#[tokio::test]
async fn a_problem_carries_what_scripts_need() {
    let served = Served::start().await;
    let request = served.http.get(served.url("/fixture/missing")).header("x-request-id", "r-7");
    assert_eq!(
        document(request.send().await.unwrap()).await,
        json!({
            "type": "https://omnirelay.dev/errors/THING_NOT_FOUND",
            "title": "Not found",
            "status": 404,
            "detail": "there is no thing `missing`",
            "code": "not_found",
            "reason": "THING_NOT_FOUND",
            "message": "there is no thing `missing`",
            "hint": "list the things",
            "exitCode": 3,
            "retryable": false,
            "requestId": "r-7",
            "details": [{"thing": "missing"}],
        })
    );
    assert_eq!(document(served.get("/fixture/bare").await).await["details"], json!([]));
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let served = Served::start_as(Readers).await;
    let read = served.http.get(served.url("/fixture/x")).header("authorization", "Bearer t");
    assert_eq!(read.send().await.unwrap().status(), 200);
    // What a caller says of itself grants nothing.
    let write = served.http.put(served.url("/fixture/x/inner")).header("authorization", "Bearer t");
    let write = write.header("x-scopes", "mesh.admin").header("omnirelay-principal", "root");
    let response = write.send().await.unwrap();
    assert_eq!(response.status(), 403);
    let problem = document(response).await;
    assert_eq!(problem["reason"], "MISSING_SCOPE");
    assert_eq!(
        problem["message"],
        "/fixture.v1.FixtureService/Put needs scope mesh.admin; reader has mesh.read"
    );
    assert_eq!(problem["details"][0]["missingScope"], "mesh.admin");
    assert_eq!(problem["exitCode"], 5);

    let mut request = tonic::Request::new(PutRequest::default());
    request.metadata_mut().insert("authorization", "Bearer t".parse().unwrap());
    let status = served.grpc().await.put(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(Fault::from(&status).reason, "MISSING_SCOPE");
}

#[tokio::test]
async fn who_proves_nothing_gets_nothing_but_health() {
    let served = Served::start_as(Readers).await;
    let response = served.get("/fixture/x").await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(document(response).await["reason"], "NO_TOKEN");
    let status = served.grpc().await.find(named("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    // A large body is not even looked at.
    let body = vec![b' '; 8 * 1024 * 1024];
    assert_eq!(served.post("/fixture/x:echo", body).await.status(), 401);

    let mut health = tonic_health::pb::health_client::HealthClient::new(served.channel().await);
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
}

#[tokio::test]
async fn loopback_callers_are_local_and_insecure_ones_anonymous() {
    let principal = |document: serde_json::Value| {
        document["principal"].as_str().unwrap().split(' ').next().unwrap().to_owned()
    };
    let served = Served::start().await;
    assert_eq!(principal(document(served.get("/fixture/x").await).await), "local");
    let served = Served::start_as(InsecureAuthenticator::default()).await;
    assert_eq!(principal(document(served.get("/fixture/x").await).await), "anonymous");
}

#[tokio::test]
async fn conditions_reach_the_operation_over_both_protocols() {
    let served = Served::start().await;
    let expected = "local key=Some(\"k-1\") match=Some(Version(12)) id=r-7";
    let request = served.http.get(served.url("/fixture/x"));
    let request = request.header("idempotency-key", "k-1").header("if-match", "\"12\"");
    let response = request.header("x-request-id", "r-7").send().await.unwrap();
    assert_eq!(document(response).await["principal"], expected);
    let mut request = tonic::Request::new(named("x"));
    for (name, value) in [("idempotency-key", "k-1"), ("if-match", "12"), ("x-request-id", "r-7")] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let response = served.grpc().await.find(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "r-7");
    assert_eq!(response.metadata().get("omnirelay-server-version").unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(response.into_inner().principal, expected);

    for (name, value) in [
        ("if-match", "twelve"),
        ("idempotency-key", &"k".repeat(129)),
        ("idempotency-key", "two words"),
        ("omnirelay-timeout", "soon"),
    ] {
        let response = served.http.get(served.url("/fixture/x")).header(name, value).send().await.unwrap();
        assert_eq!(response.status(), 400, "{name}: {value}");
        let problem = document(response).await;
        assert_eq!(problem["reason"], "INVALID_HEADER");
        assert!(problem["message"].as_str().unwrap().to_lowercase().contains(name), "{problem}");
    }
}

#[tokio::test]
async fn answers_carry_the_metadata_that_means_something() {
    let served = Served::start().await;
    let response = served.get("/fixture/x?int32Field=7").await;
    assert_eq!(header(&response, "etag"), Some("\"7\""));
    assert_eq!(header(&response, "omnirelay-cursor"), Some("1:42"));
    assert_eq!(header(&response, "omnirelay-server-version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(header(&response, "x-internal"), None);
    let made = header(&response, "x-request-id").unwrap();
    assert!(document(served.get("/fixture/x").await).await["principal"].as_str().unwrap().contains("id="));
    assert!(!made.is_empty());

    let request = served.http.get(served.url("/fixture/x?int32Field=7")).header("if-none-match", "W/\"7\"");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 304);
    assert_eq!(header(&response, "etag"), Some("\"7\""));
    assert_eq!(header(&response, "omnirelay-not-modified"), None);
    assert_eq!(response.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let served = Served::start().await;
    let get = served.get("/fixture/x?int32Field=7").await;
    let length = get.content_length();
    let head = served.http.head(served.url("/fixture/x?int32Field=7")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(header(&head, "content-length").map(str::to_owned), length.map(|length| length.to_string()));
    assert_eq!(header(&head, "etag"), Some("\"7\""));
    assert_eq!(head.bytes().await.unwrap(), "");
    let head = served.http.head(served.url("/fixture")).send().await.unwrap();
    assert_eq!(head.status(), 406, "a stream has no document to ask about");
}

#[tokio::test]
async fn large_answers_are_compressed_for_who_takes_it() {
    let served = Served::start().await;
    let body = |count: usize| json!({"tags": vec!["tag"; count]}).to_string();
    let send = |count: usize, encoding: Option<&'static str>| {
        let request =
            served.http.post(served.url("/fixture/x:echo")).header("content-type", "application/json");
        let request = match encoding {
            Some(encoding) => request.header("accept-encoding", encoding),
            None => request,
        };
        let request = request.body(body(count));
        async move { request.send().await.unwrap() }
    };
    let plain = send(1000, None).await;
    assert_eq!(header(&plain, "content-encoding"), None);
    let plain = plain.bytes().await.unwrap();
    let zipped = send(1000, Some("br, gzip")).await;
    assert_eq!(header(&zipped, "content-encoding"), Some("gzip"));
    assert_eq!(header(&zipped, "vary"), Some("accept, accept-encoding"));
    let zipped = zipped.bytes().await.unwrap();
    assert!(zipped.len() * 10 < plain.len());
    let mut unzipped = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&zipped[..]), &mut unzipped).unwrap();
    // Only the request id differs.
    assert_eq!(
        unzipped.split("principal").next(),
        std::str::from_utf8(&plain).unwrap().split("principal").next()
    );
    assert_eq!(header(&send(1, Some("gzip")).await, "content-encoding"), None, "too small to pay");
    assert_eq!(header(&send(1000, Some("gzip;q=0")).await, "content-encoding"), None);

    let mut client = served
        .grpc()
        .await
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let response =
        client.echo(EchoRequest { tags: vec!["tag".to_owned(); 1000], ..named("x") }).await.unwrap();
    assert_eq!(response.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(response.into_inner().request.unwrap().tags.len(), 1000);
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_says_what_is_known() {
    let served = Served::start().await;
    let begun = Instant::now();
    let request = served.http.get(served.url("/fixture/slow")).header("omnirelay-timeout", "100ms");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 504);
    let problem = document(response).await;
    assert_eq!(problem["reason"], "DEADLINE_EXCEEDED");
    assert_eq!(problem["exitCode"], 8);

    let put = || {
        let request = served.http.put(served.url("/fixture/slow/inner")).header("omnirelay-timeout", "100ms");
        request.header("content-type", "application/json").body("{}")
    };
    let problem = document(put().header("idempotency-key", "k-9").send().await.unwrap()).await;
    assert_eq!(problem["reason"], "OUTCOME_UNKNOWN");
    assert!(problem["hint"].as_str().unwrap().contains("k-9"), "{problem}");
    assert_eq!(problem["details"][0]["idempotencyKey"], "k-9");
    let problem = document(put().send().await.unwrap()).await;
    assert_eq!(problem["reason"], "OUTCOME_UNKNOWN");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_gets_ten_seconds() {
    let served = Served::start().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(served.get("/fixture/slow").await.status(), 504);
    let elapsed = begun.elapsed().as_secs();
    assert!((10..=11).contains(&elapsed), "{elapsed} s");
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_speak_for_the_operator() {
    let served = Served::start().await;
    for (name, value, reason) in [
        ("host", "evil.example", "HOST_NOT_ALLOWED"),
        ("host", "127.0.0.1.evil.example:17420", "HOST_NOT_ALLOWED"),
        ("origin", "https://evil.example", "ORIGIN_NOT_ALLOWED"),
        ("origin", "null", "ORIGIN_NOT_ALLOWED"),
        ("origin", "http://localhost:1", "ORIGIN_NOT_ALLOWED"),
    ] {
        // Without a body, which a page may send without asking first.
        let request = served.http.post(served.url("/fixture/x:echo")).header(name, value);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403, "{name}: {value}");
        assert_eq!(document(response).await["reason"], reason);
    }
    let own = served.http.post(served.url("/fixture/x:echo")).header("origin", served.url(""));
    assert_eq!(own.send().await.unwrap().status(), 200);
    let named = served.http.get(served.url("/fixture/x")).header("host", "localhost:1");
    assert_eq!(named.send().await.unwrap().status(), 200);
    let served =
        Served::start_with(|builder| builder.hosts(AllowedHosts::any()), ListenerLimits::default()).await;
    let named = || served.http.get(served.url("/fixture/x")).header("host", "mesh.example");
    assert_eq!(named().send().await.unwrap().status(), 200);
    let foreign = named().header("origin", "https://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403, "any host is not any origin");
}

/// Method, protocol, code, whether it streamed, and principal.
type Row = (String, CallProtocol, Code, bool, String);

#[derive(Default)]
struct Seen(Mutex<Vec<Row>>);

impl RequestObserver for Seen {
    fn finished(&self, call: &FinishedCall<'_>) {
        let seen = (
            call.method.rsplit('/').next().unwrap().to_owned(),
            call.protocol,
            call.code,
            call.streamed,
            call.principal.to_owned(),
        );
        self.0.lock().unwrap().push(seen);
    }
}

#[tokio::test]
async fn every_call_is_told_of_once() {
    let seen = Arc::new(Seen::default());
    let observer = Arc::clone(&seen);
    let served = Served::start_with(|builder| builder.observer(observer), ListenerLimits::default()).await;
    let row = |method: &str, protocol, code, streamed| {
        (method.to_owned(), protocol, code, streamed, "local".to_owned())
    };
    let mut expected = Vec::new();

    served.get("/fixture/x").await;
    expected.push(row("Find", CallProtocol::of_http(http::Version::HTTP_11), Code::Ok, false));
    served.get("/fixture/missing").await;
    expected.push(row("Find", CallProtocol::of_http(http::Version::HTTP_11), Code::NotFound, false));
    served.get("/fixture/x?no=1").await;
    expected.push(row("Find", CallProtocol::of_http(http::Version::HTTP_11), Code::InvalidArgument, false));
    served.grpc().await.find(named("panic")).await.unwrap_err();
    expected.push(row("Find", CallProtocol::of_grpc(http::Version::HTTP_2), Code::Internal, false));
    let request = CountRequest { up_to: 2, ..CountRequest::default() };
    let mut stream = served.grpc().await.count(request).await.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {}
    expected.push(row("Count", CallProtocol::of_grpc(http::Version::HTTP_2), Code::Ok, true));
    let url = served.url("/fixture?upTo=1&failWith=hang");
    drop(served.http.get(url).send().await.unwrap());
    expected.push(row("Count", CallProtocol::of_http(http::Version::HTTP_11), Code::Cancelled, true));
    for _ in 0..500 {
        if seen.0.lock().unwrap().len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*seen.0.lock().unwrap(), expected);
}

/// Method, protocol, reason and principal of the calls that would have changed something.
type Refused = (String, CallProtocol, String, String);

#[derive(Default)]
struct RefusedChanges(Mutex<Vec<Refused>>);

impl RequestObserver for RefusedChanges {
    fn finished(&self, call: &FinishedCall<'_>) {
        if call.audit_action.is_some() {
            let method = call.method.rsplit('/').next().unwrap().to_owned();
            let row = (method, call.protocol, call.reason.to_owned(), call.principal.to_owned());
            self.0.lock().unwrap().push(row);
        }
    }
}

#[tokio::test]
async fn a_refused_change_is_told_of_with_its_reason() {
    let seen = Arc::new(RefusedChanges::default());
    let observer = Arc::clone(&seen);
    let build = |builder: SurfaceBuilder| builder.observer(observer).authenticator(Readers);
    let served = Served::start_with(build, ListenerLimits::default()).await;
    let put = || served.http.put(served.url("/fixture/x/inner"));
    put().send().await.unwrap();
    put().header("authorization", "Bearer t").send().await.unwrap();
    put().header("origin", "https://evil.example").send().await.unwrap();
    served.http.get(served.url("/fixture/x")).send().await.unwrap();
    let mut request = tonic::Request::new(PutRequest::default());
    request.metadata_mut().insert("authorization", "Bearer t".parse().unwrap());
    served.grpc().await.put(request).await.unwrap_err();
    let row = |protocol, reason: &str, principal: &str| {
        ("Put".to_owned(), protocol, reason.to_owned(), principal.to_owned())
    };
    let expected = [
        row(CallProtocol::of_http(http::Version::HTTP_11), "NO_TOKEN", "-"),
        row(CallProtocol::of_http(http::Version::HTTP_11), "MISSING_SCOPE", "reader"),
        row(CallProtocol::of_http(http::Version::HTTP_11), "ORIGIN_NOT_ALLOWED", "-"),
        row(CallProtocol::of_grpc(http::Version::HTTP_2), "MISSING_SCOPE", "reader"),
    ];
    assert_eq!(*seen.0.lock().unwrap(), expected);
}
