//! Clients that mean no good, on real sockets: they do not read, send what is no body, and say too much.

use omnirelay_wire::tls::nobody;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use omnirelay_fixture::fixture::v1::CountRequest;
use omnirelay_identity::caller::PeerInfo;
use omnirelay_surface::ListenerLimits;
use omnirelay_wire::fault::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::fixture::Served;

/// Waits until all streams are gone.
async fn gone(served: &Served, what: &str) {
    let begun = Instant::now();
    while served.operations.streams.load(Ordering::SeqCst) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: the stream is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn began(served: &Served, what: &str) {
    let begun = Instant::now();
    while served.operations.streams.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: no stream began");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Short enough for a test.
fn impatient() -> ListenerLimits {
    ListenerLimits { write_timeout: Duration::from_millis(600), ..ListenerLimits::default() }
}

#[tokio::test]
async fn a_client_that_reads_no_events_is_cut_off() {
    let served = Served::start_with(|builder| builder, impatient()).await;
    for (what, accept) in [("events", "text/event-stream"), ("lines", "application/x-ndjson")] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let request =
            format!("GET /fixture?upTo=4000000000 HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        began(&served, what).await;
        gone(&served, what).await;
        drop(stream);
    }
}

#[tokio::test]
async fn a_grpc_stream_that_is_not_read_is_cut_off() {
    let served = Served::start_with(|builder| builder, impatient()).await;
    let request = CountRequest { up_to: u32::MAX, ..CountRequest::default() };
    // The connection is read, and answers probes; only the stream is not.
    let mut stream = served.grpc().await.count(request).await.unwrap().into_inner();
    began(&served, "gRPC").await;
    gone(&served, "gRPC").await;
    let ended = async { while let Ok(Some(_)) = stream.message().await {} };
    tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
}

#[tokio::test]
async fn who_reads_slowly_or_has_nothing_to_read_stays() {
    // Long enough for a busy machine to read something in it.
    let limits = ListenerLimits { write_timeout: Duration::from_secs(12), ..ListenerLimits::default() };
    let served = Served::start_with(|builder| builder, limits).await;
    let quiet = CountRequest { up_to: 1, fail_with: "hang".to_owned(), ..CountRequest::default() };
    let mut quiet = served.grpc().await.count(quiet).await.unwrap().into_inner();
    assert!(quiet.message().await.unwrap().is_some());
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    slow.write_all(b"GET /fixture?upTo=4000000000 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    let mut piece = vec![0; 64 * 1024];
    while begun.elapsed() < limits.write_timeout * 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        slow.read_exact(&mut piece).await.unwrap();
    }
    assert_eq!(served.operations.streams.load(Ordering::SeqCst), 2);
    let more = tokio::time::timeout(Duration::from_millis(1), quiet.message()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn what_is_held_for_a_client_that_does_not_read_is_bounded() {
    let limits = ListenerLimits { write_timeout: Duration::from_secs(60), ..ListenerLimits::default() };
    let served = Served::start_with(|builder| builder, limits).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // The client's own side is small, so that what is produced is what the daemon's side holds.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(served.address).await.unwrap();
    stream.write_all(b"GET /fixture?upTo=4000000000 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let produced = || served.operations.produced.load(Ordering::SeqCst);
    let mut before = usize::MAX;
    while before != produced() {
        before = produced();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // An event has about 50 bytes.
    assert!(before > 0 && before * 50 < 1024 * 1024, "{before} events are held");
}

/// The answer to these bytes on a connection of their own.
async fn answer(served: &Served, bytes: &str) -> String {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut text)).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_body_in_malformed_chunks_is_the_callers_mistake() {
    let served = Served::start().await;
    for chunks in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "-1\r\n{}\r\n",
        "2\r\n{}XX0\r\n\r\n",
        "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    ] {
        let head = "POST /fixture/x:echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                    connection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = answer(&served, &format!("{head}{chunks}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        let problem = answer.contains("application/problem+json") && answer.contains("MALFORMED_BODY");
        assert!(problem, "{chunks:?}: {answer}");
    }
}

#[tokio::test]
async fn a_request_has_one_host() {
    let served = Served::start().await;
    let request =
        "GET /fixture/x HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    let answer = answer(&served, request).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("INVALID_HEADER"), "{answer}");
}

#[tokio::test]
async fn too_much_metadata_is_refused_in_the_words_of_its_protocol() {
    let served = Served::start().await;
    let mut request = tonic::Request::new(omnirelay_fixture::fixture::v1::EchoRequest::default());
    request.metadata_mut().insert("x-much", "x".repeat(60_000).parse().unwrap());
    let status = served.grpc().await.find(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(Fault::from(&status).reason, "HEADERS_TOO_LARGE");
    let http2 = reqwest::Client::builder()
        .tls_backend_preconfigured(nobody())
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let response =
        http2.get(served.url("/fixture/x")).header("x-much", "x".repeat(60_000)).send().await.unwrap();
    assert_eq!(response.status(), 431);
    assert!(response.text().await.unwrap().contains("HEADERS_TOO_LARGE"));
}

#[tokio::test]
async fn a_head_says_how_long_a_hand_made_answer_is() {
    let routes = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok\n" }));
    let served = Served::start_with(|builder| builder.routes(routes), ListenerLimits::default()).await;
    let answer =
        answer(&served, "HEAD /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 3\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn health_refuses_what_it_cannot_read() {
    let served = Served::start().await;
    for path in ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"] {
        let body = tonic::body::Body::new(http_body_util::Full::new(bytes::Bytes::from_static(&[
            0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff,
        ])));
        let request =
            http::Request::post(path).header("content-type", "application/grpc").body(body).unwrap();
        let peer = PeerInfo::at("127.0.0.1:1".parse().unwrap(), None);
        let response = served.surface.handle(request, &peer).await;
        let status = match Status::from_header_map(response.headers()) {
            Some(status) => status,
            None => {
                use http_body_util::BodyExt as _;
                let body = response.into_body().collect().await.unwrap();
                Status::from_header_map(body.trailers().unwrap()).unwrap()
            }
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status:?}");
        assert_eq!(Fault::from(&status).reason, "MALFORMED_MESSAGE", "{path}");
    }
}
