//! Calls that no well-made client makes: bytes put into frames by hand, answers that nobody reads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use omnirelay_fixture::fixture::v1::EchoRequest;
use omnirelay_identity::caller::PeerInfo;
use omnirelay_surface::{FinishedCall, ListenerLimits, RequestObserver, Surface};
use omnirelay_wire::fault::Fault;
use prost::Message as _;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::fixture::Served;

const ECHO: &str = "/fixture.v1.FixtureService/Echo";

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

fn named(name: &str) -> Vec<u8> {
    frame(0, &EchoRequest { name: name.to_owned(), ..EchoRequest::default() }.encode_to_vec())
}

/// A request whose answer has so many bytes and a few more.
fn large(bytes: usize) -> Vec<u8> {
    frame(0, &EchoRequest { tags: vec!["x".repeat(bytes)], ..EchoRequest::default() }.encode_to_vec())
}

fn grpc(body: Body, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post(ECHO).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Body::new(Full::new(bytes.into()))
}

async fn handle(surface: &Surface, request: Request<Body>) -> Response<axum::body::Body> {
    surface.handle(request, &PeerInfo::at("127.0.0.1:1".parse().unwrap(), None)).await
}

/// What a call ended with, wherever it says so.
async fn status(response: Response<axum::body::Body>) -> Status {
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let collected = response.into_body().collect().await.unwrap();
    Status::from_header_map(collected.trailers().unwrap()).unwrap()
}

#[derive(Default)]
struct Codes(Mutex<Vec<Code>>);

impl RequestObserver for Codes {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.0.lock().unwrap().push(call.code);
    }
}

#[tokio::test]
async fn a_request_that_is_no_message_is_the_callers_mistake() {
    let codes = Arc::new(Codes::default());
    let observer = Arc::clone(&codes);
    let served = Served::start_with(|builder| builder.observer(observer), ListenerLimits::default()).await;
    let gzip = &[("grpc-encoding", "gzip")][..];
    let cut = named("x")[..7].to_vec();
    let behind = [named("x"), vec![0, 0]].concat();
    let none = &[][..];
    let cases = [
        ("no protocol buffer", frame(0, &[0xff; 20]), none),
        ("a string that is no UTF-8", frame(0, &[0x0a, 1, 0xff]), none),
        ("compressed by nothing", frame(1, b"x"), none),
        ("no gzip", frame(1, b"x"), gzip),
        ("an unknown flag", frame(9, b"x"), none),
        ("cut off", cut, none),
        ("followed by half a frame", behind, none),
        ("nothing", Vec::new(), none),
    ];
    for (what, body, headers) in cases {
        let status = status(handle(&served.surface, grpc(whole(body), headers)).await).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        let fault = Fault::from(&status);
        assert_eq!(fault.reason, "MALFORMED_MESSAGE", "{what}: {status:?}");
        assert_eq!(codes.0.lock().unwrap().pop(), Some(Code::InvalidArgument), "{what}");
    }
    let ended = status(handle(&served.surface, grpc(whole(named("x")), &[])).await).await;
    assert_eq!(ended.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn the_server_itself_ends_a_grpc_call_at_its_deadline() {
    let served = Served::start().await;
    let begun = tokio::time::Instant::now();
    let request = grpc(whole(named("slow")), &[("grpc-timeout", "100m")]);
    let status = status(handle(&served.surface, request).await).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_message_that_shows_nothing_is_no_piece_of_its_stream() {
    let served = Served::start().await;
    // Of five messages one has nothing to show as an event, and two nothing as lines.
    for (accept, pieces) in [("text/event-stream", 1 + 4), ("application/x-ndjson", 3)] {
        let request = Request::get("/inners?upTo=5").header("host", "localhost").header("accept", accept);
        let mut body = handle(&served.surface, request.body(Body::empty()).unwrap()).await.into_body();
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert!(sizes.len() == pieces && !sizes.contains(&0), "{accept}: {sizes:?}");
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_do_not_pile_up() {
    let served =
        Served::start_with(|builder| builder.in_flight_bytes_max(130_000), ListenerLimits::default()).await;
    let http = |size: usize| {
        let json = format!(r#"{{"maybe":"{}"}}"#, "x".repeat(size));
        let request = Request::post("/fixture/x:echo").header("content-type", "application/json");
        request.header("host", "localhost").body(whole(json)).unwrap()
    };
    let mut unread = Vec::new();
    for _ in 0..2 {
        unread.push(handle(&served.surface, grpc(whole(large(40_000)), &[])).await);
        assert!(!unread.last().unwrap().headers().contains_key("grpc-status"));
    }
    let refused = status(handle(&served.surface, grpc(whole(large(40_000)), &[])).await).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(Fault::from(&refused).reason, "TOO_MUCH_IN_FLIGHT");
    let response = handle(&served.surface, http(40_000)).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    // Who asks for little is served.
    assert_eq!(status(handle(&served.surface, grpc(whole(named("x")), &[])).await).await.code(), Code::Ok);
    assert_eq!(handle(&served.surface, http(10)).await.status(), StatusCode::OK);

    unread.pop();
    let read = handle(&served.surface, http(30_000)).await;
    assert_eq!(read.status(), StatusCode::OK, "there is room again");
    assert_eq!(handle(&served.surface, http(30_000)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let bytes = read.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.len() > 30_000);
    assert_eq!(handle(&served.surface, http(30_000)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(bytes);
    assert_eq!(handle(&served.surface, http(30_000)).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn requests_that_never_end_do_not_pile_up() {
    let served =
        Served::start_with(|builder| builder.in_flight_bytes_max(100_000), ListenerLimits::default()).await;
    let unending = |bytes: Vec<u8>| {
        use futures_util::StreamExt as _;
        let first = futures_util::stream::iter([Ok::<_, Status>(http_body::Frame::data(Bytes::from(bytes)))]);
        Body::new(StreamBody::new(first.chain(futures_util::stream::pending())))
    };
    let json = || Request::post("/fixture/x:echo").header("content-type", "application/json");
    let mut waiting = Vec::new();
    for number in 0..2 {
        let request = match number {
            0 => grpc(unending(large(60_000)[..45_000].to_vec()), &[]),
            _ => json().body(unending(vec![b' '; 45_000])).unwrap(),
        };
        let surface = served.surface.clone();
        waiting.push(tokio::spawn(async move { handle(&surface, request).await }));
        tokio::task::yield_now().await;
    }
    let refused = status(handle(&served.surface, grpc(whole(large(20_000)), &[])).await).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let refused = handle(&served.surface, json().body(whole(vec![b' '; 20_000])).unwrap()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    // Both end at their deadline, and give back what they held.
    let ended = status(waiting.remove(0).await.unwrap()).await;
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
    assert_eq!(waiting.remove(0).await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    let after = status(handle(&served.surface, grpc(whole(large(20_000)), &[])).await).await;
    assert_eq!(after.code(), Code::Ok);
}
