//! The listener: one port for all, bounded, slow clients dropped, drained at the end.

use omnirelay_wire::tls::nobody;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use omnirelay_fixture::fixture::v1::{CountRequest, EchoRequest, ScopeRequest};
use omnirelay_surface::ListenerLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::Code;

use crate::fixture::{Served, header, json as document};
use crate::network::with_an_address;

/// How long until the daemon closes a connection that sends `bytes` and then nothing.
async fn closed_after(served: &Served, bytes: &[u8]) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(reading.is_ok(), "still open: {bytes:?}");
    begun.elapsed()
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_dropped() {
    let limits =
        ListenerLimits { header_read_timeout: Duration::from_millis(300), ..ListenerLimits::default() };
    let served = Served::start_with(|builder| builder, limits).await;
    for bytes in
        [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\n", b"GET /fixture/x HTTP/1.1\r\nhost: localhost\r\nx-slow: "]
    {
        let elapsed = closed_after(&served, bytes).await;
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?} for {bytes:?}");
        assert!(elapsed >= Duration::from_millis(250), "{elapsed:?} for {bytes:?}");
    }
    // A byte now and then does not help.
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /fixture/x HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.unwrap();
    let begun = Instant::now();
    while stream.write_all(b"x").await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "still open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // An idle gRPC connection is not a slow one.
    let mut client = served.grpc().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    client.find(EchoRequest { name: "x".to_owned(), ..EchoRequest::default() }).await.unwrap();
}

/// Asks on a connection that may have been asked on before.
async fn answers_on(stream: &mut TcpStream) {
    stream.write_all(b"GET /fixture/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"}") {
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_kept_and_none_that_dawdles() {
    let limits =
        ListenerLimits { header_read_timeout: Duration::from_millis(300), ..ListenerLimits::default() };
    let served = Served::start_with(|builder| builder, limits).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for _ in 0..2 {
        answers_on(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    answers_on(&mut stream).await;
    stream.write_all(b"GET /fixture/x HTTP/1.1\r\nhost: ").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "a head that does not end is waited for");
    // Nothing is asked for longer than a connection is kept.
    let limits = ListenerLimits { idle_timeout: Duration::from_millis(300), ..limits };
    let served = Served::start_with(|builder| builder, limits).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    answers_on(&mut stream).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "an idle connection is kept for ever");
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let limits = ListenerLimits { connections_max: 2, ..ListenerLimits::default() };
    let served = Served::start_with(|builder| builder, limits).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /fixture/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        kept.push(stream);
    }
    let mut refused = TcpStream::connect(served.address).await.unwrap();
    let mut rest = Vec::new();
    let _ = refused.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
    kept.pop();
    for _ in 0..100 {
        if let Ok(response) = served.http.get(served.url("/fixture/x")).send().await {
            assert_eq!(response.status(), 200);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a freed place is never given to another");
}

/// Asks on a connection of its own, from an address; the connection if it was let in.
async fn let_in(served: &Served, from: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from).unwrap();
    let mut stream = socket.connect(served.address).await.unwrap();
    let _ = stream.write_all(b"GET /fixture/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut head = [0; 8];
    stream.read_exact(&mut head).await.is_ok().then_some(stream)
}

#[test]
fn one_host_cannot_hold_the_places_of_all() {
    with_an_address(one_host_holds_its_share).unwrap();
}

async fn one_host_holds_its_share(host: IpAddr) -> anyhow::Result<()> {
    let limits = ListenerLimits { per_address_max: 2, ..ListenerLimits::default() };
    let served = Served::start_with(|builder| builder, limits).await;
    let (far, near) = (SocketAddr::new(host, 0), SocketAddr::from(([127, 0, 0, 1], 0)));
    let kept = [let_in(&served, far).await, let_in(&served, far).await];
    assert!(kept.iter().all(Option::is_some));
    assert!(let_in(&served, far).await.is_none(), "a third one of one host");
    for _ in 0..4 {
        assert!(let_in(&served, near).await.is_some(), "those of this host are not counted");
    }
    drop(kept);
    for _ in 0..100 {
        if let_in(&served, far).await.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a freed place is never given to another");
}

#[tokio::test]
async fn draining_ends_streams_and_lets_calls_finish() {
    let mut served = Served::start().await;
    let http = served.http.clone();
    let request = CountRequest { up_to: 1, fail_with: "hang".to_owned(), ..CountRequest::default() };
    let mut stream = served.grpc().await.count(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let url = served.url("/fixture?upTo=1&failWith=hang");
    let events = http.get(url).send().await.unwrap();
    // A call that ends at its deadline, after the daemon was told to stop.
    let url = served.url("/fixture/slow");
    let slow = tokio::spawn(http.get(url).header("omnirelay-timeout", "500ms").send());
    tokio::time::sleep(Duration::from_millis(150)).await;
    served.stop();

    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("stopping"), "{status:?}");
    let text = events.text().await.unwrap();
    assert!(text.contains("event: error\n") && text.contains("\"reason\":\"DRAINING\""), "{text}");
    assert_eq!(slow.await.unwrap().unwrap().status(), 504);
    let address = served.address;
    assert_eq!(served.stopped().await.cut, 0);
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_client_that_has_said_nothing_does_not_hold_the_end_up() {
    let mut served = Served::start().await;
    let mut silent = Vec::new();
    for begun in [&b""[..], b"PRI * HTTP"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        silent.push(stream);
    }
    // Answered on a later connection, so the others are accepted by then.
    assert_eq!(served.get("/fixture/x").await.status(), 200);
    served.stop();
    let begun = Instant::now();
    assert_eq!(served.stopped().await.cut, 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn calls_that_outlast_the_grace_are_cut() {
    let limits = ListenerLimits { grace: Duration::from_millis(200), ..ListenerLimits::default() };
    let mut served = Served::start_with(|builder| builder, limits).await;
    let slow = tokio::spawn(served.http.get(served.url("/fixture/slow")).send());
    tokio::time::sleep(Duration::from_millis(150)).await;
    served.stop();
    assert_eq!(served.stopped().await.cut, 1);
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test]
async fn http2_without_grpc_is_served_on_the_same_port() {
    let served = Served::start().await;
    let http2 = reqwest::Client::builder()
        .tls_backend_preconfigured(nobody())
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let response = http2.get(served.url("/fixture/x")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
    assert_eq!(document(response).await["request"]["name"], "x");
    let head = http2.head(served.url("/fixture/x")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn an_operation_is_told_what_its_call_came_by() {
    let served = Served::start().await;
    let http2 = reqwest::Client::builder()
        .tls_backend_preconfigured(nobody())
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    for (http, expected) in [(&served.http, "http/1.1"), (&http2, "http/2")] {
        let unary = document(http.get(served.url("/scopes/a/b")).send().await.unwrap()).await;
        assert_eq!(unary["protocol"], expected);
        for (accept, begin) in [("text/event-stream", "data: "), ("application/x-ndjson", "")] {
            let stream = http.get(served.url("/inners?upTo=1")).header("accept", accept).send();
            let text = stream.await.unwrap().text().await.unwrap();
            let message = format!("{begin}{{\"text\":\"{expected}\",\"big\":\"1\"}}\n");
            assert!(text.contains(&message), "{accept}: {text}");
        }
    }
    let mut grpc = served.grpc().await;
    let scope = ScopeRequest { scope_name: "a/b".to_owned(), ..ScopeRequest::default() };
    assert_eq!(grpc.get_scope(scope).await.unwrap().into_inner().protocol, "grpc");
    let request = CountRequest { up_to: 1, ..CountRequest::default() };
    let first = grpc.follow(request).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(first.into_message().inner.unwrap().text, "grpc");
}

#[tokio::test]
async fn hand_made_routes_stand_beside_the_generated() {
    let routes = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok\n" }));
    let served = Served::start_with(|builder| builder.routes(routes), ListenerLimits::default()).await;
    let response = served.get("/healthz").await;
    assert!(header(&response, "x-request-id").is_some());
    assert_eq!(response.text().await.unwrap(), "ok\n");
    assert_eq!(served.get("/healthy").await.status(), 404);
    let response =
        served.http.get(served.url("/healthz")).header("host", "evil.example").send().await.unwrap();
    assert_eq!(response.status(), 403);
}

/// What a connection says until this has come; or until it ends.
async fn heard_until(stream: &mut TcpStream, end: &str) -> String {
    let (mut heard, mut piece) = (String::new(), [0; 4096]);
    while !heard.contains(end) {
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut piece)).await;
        match read.unwrap() {
            Ok(0) | Err(_) => break,
            Ok(read) => heard.push_str(&String::from_utf8_lossy(&piece[..read])),
        }
    }
    heard
}

#[tokio::test]
async fn a_request_that_is_refused_says_whether_another_may_follow() {
    let served = Served::start().await;
    let head = |more: &str| format!("POST /nowhere HTTP/1.1\r\nhost: localhost\r\n{more}\r\n\r\n");
    let cases = [
        ("none of its body is there", head("content-length: 100000"), true),
        ("its body is small", head("content-length: 5") + "hello", false),
        (
            "its body is small, in pieces",
            head("transfer-encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
            false,
        ),
        ("it asks first", head("content-length: 5\r\nexpect: 100-continue"), true),
    ];
    for (what, request, closes) in cases {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = heard_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{what}: {answer}");
        assert_eq!(answer.contains("\r\nconnection: close\r\n"), closes, "{what}: {answer}");
        // What it says is so.
        let _ = stream.write_all(head("content-length: 0\r\nx-second: 1").as_bytes()).await;
        let second = heard_until(&mut stream, "HTTP/1.1 404 ").await;
        assert_eq!(second.contains("HTTP/1.1 404 "), !closes, "{what}: {second}");
    }
}
