//! Calls over both carriers, with real sockets: what is sent arrives, what fails is told, and one carrier stands in for the
//! other.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod datagrams;
mod endless;
mod hostile;
mod lab;
mod moving;
mod proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use omnirelay_transport::BoxError;
use omnirelay_transport::body::boxed;
use omnirelay_transport::carrier::{CallError, ConnectionEnd, ConnectionProtocol};
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_transport::peer::{CallPath, PeerError};

use lab::{Server, asked, target};
use proxy::Proxy;

const REPEATABLE: CallPath = CallPath::REPEATABLE;
const BULK: CallPath = CallPath { repeatable: false, bulk: true };

#[tokio::test]
async fn what_is_sent_arrives_over_either_carrier() {
    let server = Server::start().await;
    let (peer, _) = server.peer();
    for (way, expected) in
        [(CallPath::default(), ConnectionProtocol::Http3), (BULK, ConnectionProtocol::Http2)]
    {
        let answered = peer.call(asked("/echo", b"hello"), way).await.unwrap();
        assert_eq!(answered.extensions().get::<ConnectionProtocol>(), Some(&expected));
        let whole = answered.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(whole.to_bytes(), "hello");

        let big = Bytes::from(vec![7; 5_000_000]);
        let frames = futures_util::stream::iter([Ok::<_, BoxError>(Frame::data(big.clone()))]);
        let request = Request::post("https://node.mesh/echo").body(boxed(StreamBody::new(frames))).unwrap();
        let answered = peer.call(request, way).await.unwrap();
        assert!(answered.into_body().collect().await.unwrap().to_bytes() == big, "{expected:?}");
    }
}

#[tokio::test]
async fn a_stream_goes_both_ways_while_it_comes() {
    let server = Server::start().await;
    let (peer, _) = server.peer();
    for way in [CallPath::default(), BULK] {
        let (tell, told) = futures_util_channel();
        let request = Request::post("https://node.mesh/stream").body(boxed(StreamBody::new(told))).unwrap();
        let answered = peer.call(request, way).await.unwrap();
        let mut body = answered.into_body();
        for word in ["one", "two", "three"] {
            tell.send(Ok::<_, BoxError>(Frame::data(Bytes::from(word)))).unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), word);
        }
        drop(tell);
        let rest = body.collect().await.unwrap();
        assert_eq!(rest.to_bytes(), "");
    }
}

type Frames = Result<Frame<Bytes>, BoxError>;

fn futures_util_channel()
-> (tokio::sync::mpsc::UnboundedSender<Frames>, impl futures_util::Stream<Item = Frames> + Send + 'static) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let told = futures_util::stream::unfold(told, async |mut told| Some((told.recv().await?, told)));
    (tell, Box::pin(told).map(|frame| frame))
}

#[tokio::test]
async fn one_answer_that_is_broken_ends_no_other() {
    let server = Server::start().await;
    let (peer, told) = server.peer();
    // Its head may be lost with the rest.
    if let Ok(broken) = peer.call(asked("/broken", b""), CallPath::default()).await {
        broken.into_body().collect().await.unwrap_err();
    }
    let endless = peer.call(asked("/endless", b""), CallPath::default()).await.unwrap();
    assert!(endless.into_body().collect().await.unwrap().trailers().is_some());
    let large = Request::post("https://node.mesh/echo").header("x", "y".repeat(17_000));
    let refused =
        peer.call(large.body(boxed(http_body_util::Empty::new())).unwrap(), CallPath::default()).await;
    assert!(matches!(refused, Err(PeerError::Call(CallError::TooLarge(_)))), "{:?}", refused.map(drop));
    let fine = peer.call(asked("/echo", b"fine"), CallPath::default()).await.unwrap();
    assert_eq!(fine.into_body().collect().await.unwrap().to_bytes(), "fine");
    assert_eq!(told.take(), ["http3"], "all of it over one connection");
}

#[tokio::test]
async fn where_no_udp_comes_through_calls_go_over_tcp_and_soon() {
    let server = Server::start().await;
    let proxy = Proxy::before(server.address).await.unwrap();
    proxy.cut(true, true);
    let (peer, told) = server.peer_at(proxy.address);
    let begun = Instant::now();
    let answered = peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(answered.extensions().get::<ConnectionProtocol>(), Some(&ConnectionProtocol::Http2));
    assert_eq!(told.take(), ["downgraded: no_answer", "http2"]);
    assert_eq!(peer.used().why, Some(Downgrade::NoAnswer));
    let begun = Instant::now();
    peer.call(asked("/echo", b"b"), CallPath::default()).await.unwrap();
    println!("fallback: {took:?}, the next call: {:?}", begun.elapsed());
    assert!(told.take().is_empty(), "and it is remembered");

    server.stop_udp();
    let (peer, told) = server.peer();
    peer.call(asked("/echo", b"c"), CallPath::default()).await.unwrap();
    assert_eq!(told.take(), ["downgraded: refused", "http2"], "where somebody says no");
}

#[tokio::test]
async fn a_peer_without_http3_is_not_asked_for_it() {
    let server = Server::start().await;
    let (peer, told) = server.peer();
    peer.is_at(target(server.address), false);
    peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
    assert_eq!(told.take(), ["http2"]);
    assert_eq!(peer.used().why, Some(Downgrade::NotOffered));
    peer.is_at(target(server.address), true);
    peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
    assert_eq!((told.take(), peer.used().why), (vec!["http3".to_owned()], None));
}

#[tokio::test]
async fn a_call_on_a_path_that_is_cut_is_sent_again_where_that_is_the_same() {
    let server = Server::start().await;
    let proxy = Proxy::before(server.address).await.unwrap();
    let (peer, told) = server.peer_at(proxy.address);
    peer.call(asked("/echo", b"a"), REPEATABLE).await.unwrap();
    assert_eq!(told.take(), ["http3"]);
    proxy.cut(true, true);
    let begun = Instant::now();
    let answered = peer.call(asked("/echo", b"b"), REPEATABLE).await.unwrap();
    println!("a call on a path that was cut: {:?}", begun.elapsed());
    assert_eq!(answered.extensions().get::<ConnectionProtocol>(), Some(&ConnectionProtocol::Http2));
    assert_eq!(told.take(), ["downgraded: lost", "http2"]);

    // What may be carried out once only is not, and both carriers are asked again once the other node is elsewhere.
    proxy.cut(false, false);
    peer.is_at(target(server.address), true);
    peer.call(asked("/echo", b"c"), CallPath::default()).await.unwrap();
    peer.is_at(target(proxy.address), true);
    peer.call(asked("/echo", b"c"), CallPath::default()).await.unwrap();
    assert_eq!(told.take(), ["http3", "http3"]);
    proxy.cut(true, true);
    let lost = peer.call(asked("/echo", b"d"), CallPath::default()).await.unwrap_err();
    assert!(matches!(lost, PeerError::Call(CallError::Lost(_))), "{lost}");
    proxy.cut(false, false);
}

#[tokio::test]
async fn an_address_that_was_only_heard_of_delays_no_call() {
    // Nobody answers there, and nobody refuses either.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let server = Server::start().await;
    let (alone, _) = server.peer_at(silent);
    let begun = Instant::now();
    alone.call(asked("/echo", b"a"), CallPath::default()).await.unwrap_err();
    let waited = begun.elapsed();
    let (peer, told) = server.peer();
    peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
    assert_eq!(told.take(), ["http3"]);
    // What works goes on, and is tried first when it has ended.
    peer.may_be_at(vec![target(silent)], true);
    peer.call(asked("/echo", b"b"), CallPath::default()).await.unwrap();
    assert!(told.take().is_empty());
    peer.reconnect();
    let begun = Instant::now();
    peer.call(asked("/echo", b"c"), CallPath::default()).await.unwrap();
    let again = begun.elapsed();
    assert_eq!((told.take(), peer.address()), (vec!["http3".to_owned()], server.address.to_string()));
    // Where nothing worked so far, all are tried.
    let (peer, _) = server.peer_at(silent);
    peer.may_be_at(vec![target(silent), target(server.address)], true);
    let begun = Instant::now();
    peer.call(asked("/echo", b"d"), CallPath::default()).await.unwrap();
    let first = begun.elapsed();
    assert_eq!(peer.address(), server.address.to_string());
    println!("beside an address where nobody answers for {waited:?}: {again:?}, and {first:?} at first");
    // Whoever waits for it takes as long as it is waited for where there is no other.
    assert!(again < waited && first < waited, "{again:?} and {first:?}, of {waited:?}");
}

#[tokio::test]
async fn lost_datagrams_fail_no_call() {
    let server = Server::start().await;
    let proxy = Proxy::before(server.address).await.unwrap();
    let (peer, told) = server.peer_at(proxy.address);
    peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
    proxy.lose_percent(2);
    let mut took = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        let answered = peer.call(asked("/echo", b"again"), CallPath::default()).await.unwrap();
        assert_eq!(answered.into_body().collect().await.unwrap().to_bytes(), "again");
        took.push(begun.elapsed());
    }
    took.sort();
    println!("2 % dropped: p50 {:?}, p99 {:?}", took[150], took[297]);
    assert_eq!(told.take(), ["http3"]);
}

#[tokio::test]
async fn a_slow_answer_is_no_lost_one() {
    let server = Server::start().await;
    let (peer, told) = server.peer();
    let waiting = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call(asked("/never", b""), CallPath::default()).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!waiting.is_finished(), "the path is fine");
    assert_eq!(told.take(), ["http3"]);
    waiting.abort();
}

#[tokio::test]
async fn a_drain_ends_no_call_and_those_after_it_go_elsewhere() {
    let server = Server::start().await;
    let (peer, told) = server.peer();
    peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
    let slow = tokio::spawn({
        let peer = peer.clone();
        async move {
            peer.call(asked("/slow", b""), CallPath::default()).await.unwrap().into_body().collect().await
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.drain();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.undrain();
    for _ in 0..20 {
        peer.call(asked("/echo", b"b"), CallPath::default()).await.unwrap();
    }
    assert_eq!(slow.await.unwrap().unwrap().to_bytes(), "late");
    assert_eq!(told.take(), ["http3", "http3"], "another connection took what came later");
    assert_eq!(server.calls.load(Ordering::Relaxed), 22, "each call was carried out once");
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_told_so_and_not_asked_all_the_time() {
    let server = Server::start().await;
    let (peer, _) = server.peer_at("127.0.0.1:1".parse().unwrap());
    let begun = Instant::now();
    let mut failed = 0;
    while begun.elapsed() < Duration::from_millis(200) || failed < 100 {
        let error = peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap_err();
        assert!(matches!(error, PeerError::Unreachable(_)), "{error}");
        failed += 1;
        tokio::task::yield_now().await;
    }
    peer.is_at(target(server.address), true);
    peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
}

#[tokio::test]
async fn calls_go_on_where_a_connection_retires_and_end_where_it_is_cut() {
    let server = Server::start().await;
    for way in [CallPath::default(), BULK] {
        let (peer, told) = server.peer();
        let (tell, kept) = futures_util_channel();
        let request = Request::post("https://node.mesh/stream").body(boxed(StreamBody::new(kept))).unwrap();
        let mut stream = peer.call(request, way).await.unwrap().into_body();
        let says = |word: &'static str| tell.send(Ok::<_, BoxError>(Frame::data(Bytes::from(word)))).unwrap();
        server.tls.ended.send_replace(Some(ConnectionEnd::Retire("renewed")));
        tokio::time::sleep(Duration::from_millis(50)).await;
        says("on");
        assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "on", "it is under way");
        peer.call(asked("/echo", b"a"), way).await.unwrap();
        assert_eq!(told.take().len(), 2, "by another connection");

        // The stream is on one that nobody watches any more; what is cut is the newest.
        let (tell, kept) = futures_util_channel();
        let request = Request::post("https://node.mesh/stream").body(boxed(StreamBody::new(kept))).unwrap();
        let mut stream = peer.call(request, way).await.unwrap().into_body();
        server.tls.ended.send_replace(Some(ConnectionEnd::Cut("revoked")));
        let ended = tokio::time::timeout(Duration::from_secs(2), stream.frame()).await.expect("it ends");
        assert!(matches!(ended, Some(Err(_)) | None), "{ended:?}");
        drop(tell);
        peer.call(asked("/echo", b"a"), way).await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_call_beside_fast_ones_is_no_silence() {
    let server = Server::start().await;
    let (peer, told) = server.peer();
    let waiting = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call(asked("/never", b""), CallPath::default()).await.map(drop) }
    });
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1240)).await;
    }
    assert!(!waiting.is_finished());
    assert_eq!(told.take(), ["http3"]);
    waiting.abort();
}

#[tokio::test]
async fn addresses_of_both_kinds_are_reached_from_a_socket_of_all() {
    for at in ["[::1]:0", "127.0.0.1:0"] {
        let server = Server::start_at(at).await;
        let (peer, told) = server.peer_from("[::]:0", server.address);
        peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
        assert_eq!(told.take(), ["http3"], "{at}");
    }
    // A socket of the other kind cannot, and TCP can.
    let server = Server::start_at("[::1]:0").await;
    let (peer, told) = server.peer_from("127.0.0.1:0", server.address);
    peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap();
    assert_eq!(told.take(), ["downgraded: refused", "http2"]);
}

#[tokio::test]
async fn calls_outlive_a_thousand_rotations_of_either_carrier() {
    let server = Server::start().await;
    for way in [CallPath::default(), BULK] {
        let (peer, told) = server.peer();
        let (mut callers, ends) = (tokio::task::JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for _ in 0..16 {
            let (peer, ends) = (peer.clone(), ends.clone());
            callers.spawn(async move {
                let mut calls = 0;
                while !ends.load(Ordering::Relaxed) {
                    peer.call(asked("/echo", b"a"), way).await.unwrap();
                    calls += 1;
                }
                calls
            });
        }
        let end = Instant::now() + Duration::from_secs(120);
        while told.0.lock().len() < 1000 {
            assert!(Instant::now() < end, "{} connections", told.take().len());
            server.tls.ended.send_replace(Some(ConnectionEnd::Retire("renewed")));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        ends.store(true, Ordering::Relaxed);
        let calls: usize = callers.join_all().await.into_iter().sum();
        let told = told.take();
        println!("{calls} calls over {} connections", told.len());
        // Where a handshake takes long, as on a machine that is busy, a connection of the other kind may win.
        let carrier = if way.bulk { "http2" } else { "http3" };
        let of_carrier = told.iter().filter(|told| *told == carrier).count();
        assert!(calls > 500 && of_carrier > 500, "{calls} calls, {of_carrier} over {carrier}");
    }
}
