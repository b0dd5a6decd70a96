//! Paths that lose, shrink and fall silent in one direction, and peers that misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use omnirelay_transport::body::boxed;
use omnirelay_transport::carrier::{Carrier as _, ConnectionProtocol};
use omnirelay_transport::peer::{CallPath, Peer, PeerError};
use omnirelay_transport::quic::{self, QuicCarrier};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::lab::{Server, asked, target};
use crate::proxy::Proxy;

/// What is left of a packet of 1,280 bytes, the least that IPv6 allows, without its headers.
const SMALL: usize = 1280 - 48;

/// How many paths lose datagrams, and how many calls go over each.
const PATHS: usize = 5;
const CALLS: usize = 40;

/// Has a body sent there and back, and answers by what it went.
async fn echoed(peer: &Arc<Peer>, body: &Bytes) -> ConnectionProtocol {
    let request = Request::post("https://node.mesh/echo").body(boxed(Full::new(body.clone()))).unwrap();
    let answered = peer.call(request, CallPath::REPEATABLE).await.unwrap();
    let protocol = *answered.extensions().get::<ConnectionProtocol>().unwrap();
    assert!(answered.into_body().collect().await.unwrap().to_bytes() == body);
    protocol
}

#[tokio::test]
async fn a_path_that_is_cut_in_one_direction_is_given_up_too() {
    let server = Server::start().await;
    for (there, back) in [(true, false), (false, true)] {
        let proxy = Proxy::before(server.address).await.unwrap();
        let (peer, told) = server.peer_at(proxy.address);
        let word = Bytes::from_static(b"word");
        assert_eq!(echoed(&peer, &word).await, ConnectionProtocol::Http3);
        proxy.cut(there, back);
        let begun = Instant::now();
        assert_eq!(echoed(&peer, &word).await, ConnectionProtocol::Http2, "there: {there}, back: {back}");
        let took = begun.elapsed();
        println!("cut there {there} back {back}: {took:?}");
        assert!(
            took < Duration::from_secs(8),
            "far sooner than the connection would end by itself: {took:?}"
        );
        assert_eq!(told.take(), ["http3", "downgraded: lost", "http2"]);
        // A new peer finds no way in by UDP.
        let (peer, told) = server.peer_at(proxy.address);
        assert_eq!(echoed(&peer, &word).await, ConnectionProtocol::Http2);
        assert_eq!(told.take(), ["downgraded: no_answer", "http2"]);
    }
}

#[tokio::test]
async fn a_watch_on_a_path_that_is_cut_ends() {
    let server = Server::start().await;
    let proxy = Proxy::before(server.address).await.unwrap();
    let (peer, told) = server.peer_at(proxy.address);
    let (_keeps, events) = tokio::io::duplex(64);
    let events =
        http_body_util::StreamBody::new(futures_util::stream::unfold(events, |mut events| async move {
            let byte = tokio::io::AsyncReadExt::read_u8(&mut events).await.ok()?;
            let frame = http_body::Frame::data(Bytes::from(vec![byte]));
            Some((Ok::<_, omnirelay_transport::BoxError>(frame), events))
        }));
    let request = Request::post("https://node.mesh/stream").body(boxed(events)).unwrap();
    let mut watch = peer.call(request, CallPath::default()).await.unwrap().into_body();
    assert_eq!(told.take(), ["http3"]);
    proxy.cut(true, true);
    let begun = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(25), watch.frame()).await.expect("it ends");
    assert!(matches!(ended, Some(Err(_))), "{ended:?}");
    println!("a watch on a path that was cut: {:?}", begun.elapsed());
    assert_eq!(echoed(&peer, &Bytes::from_static(b"again")).await, ConnectionProtocol::Http2);
}

#[tokio::test]
async fn large_messages_pass_where_packets_are_small() {
    let server = Server::start().await;
    let big = Bytes::from((0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
    let from_the_start = Proxy::before(server.address).await.unwrap();
    from_the_start.drop_larger_than(SMALL);
    let (peer, told) = server.peer_at(from_the_start.address);
    assert_eq!(echoed(&peer, &big).await, ConnectionProtocol::Http3);
    assert_eq!(told.take(), ["http3"]);

    // A tunnel comes between once larger packets have been found to pass.
    let later = Proxy::before(server.address).await.unwrap();
    let (peer, told) = server.peer_at(later.address);
    assert_eq!(echoed(&peer, &big).await, ConnectionProtocol::Http3);
    later.drop_larger_than(SMALL);
    for _ in 0..3 {
        assert_eq!(echoed(&peer, &big).await, ConnectionProtocol::Http3);
    }
    assert_eq!(told.take(), ["http3"], "no other connection was needed");
}

#[tokio::test]
async fn three_of_ten_datagrams_may_be_lost() {
    let server = Server::start().await;
    let path = async || {
        let proxy = Proxy::before(server.address).await.unwrap();
        let (peer, told) = server.peer_at(proxy.address);
        proxy.lose_percent(30);
        let (mut took, mut by_http3) = (Vec::new(), 0);
        for _ in 0..CALLS {
            let begun = Instant::now();
            let protocol = echoed(&peer, &Bytes::from_static(b"again")).await;
            by_http3 += usize::from(protocol == ConnectionProtocol::Http3);
            took.push(begun.elapsed());
        }
        println!("{by_http3} of {CALLS} over HTTP/3, {:?}", told.take());
        (took, by_http3)
    };
    let paths = futures_util::future::join_all((0..PATHS).map(|_| path())).await;
    let (took, mut over_http3): (Vec<_>, Vec<_>) = paths.into_iter().unzip();
    let mut took = took.concat();
    took.sort();
    over_http3.sort_unstable();
    println!("30 % lost: p50 {:?}, max {:?}", took[took.len() / 2], took[took.len() - 1]);
    // Now and then all is lost that is sent within the silence a path is allowed, and that one path is left, as it ought to be.
    assert!(over_http3[PATHS / 2] > CALLS / 2, "{over_http3:?}");
}

/// Greeting of a server for whoever connects.
#[derive(Clone, Copy, Debug)]
enum Greeting {
    Silence,
    Garbage,
    Goodbye,
}

/// A server that speaks neither TLS nor QUIC; counts who comes over TCP.
async fn misbehaving(greeting: Greeting) -> (SocketAddr, Arc<AtomicUsize>, JoinSet<()>) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let (came, mut tasks) = (Arc::<AtomicUsize>::default(), JoinSet::new());
    let counts = Arc::clone(&came);
    tasks.spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = tcp.accept().await {
            counts.fetch_add(1, Ordering::Relaxed);
            match greeting {
                Greeting::Silence => kept.push(stream),
                Greeting::Garbage => drop(stream.write_all(&[0x5a; 4096]).await),
                Greeting::Goodbye => {
                    let _ = stream.set_zero_linger();
                }
            }
        }
    });
    tasks.spawn(async move {
        let mut datagram = vec![0; 65536];
        while let Ok((length, from)) = udp.recv_from(&mut datagram).await {
            if matches!(greeting, Greeting::Garbage) {
                datagram[..length].reverse();
                let _ = udp.send_to(&datagram[..length], from).await;
            }
        }
    });
    (address, came, tasks)
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_told_so_in_time_and_seldom_asked() {
    let server = Server::start().await;
    for greeting in [Greeting::Silence, Greeting::Garbage, Greeting::Goodbye] {
        let (address, came, _tasks) = misbehaving(greeting).await;
        let (peer, _) = server.peer_at(address);
        let (begun, mut asked_for, mut longest) = (Instant::now(), 0, Duration::ZERO);
        while begun.elapsed() < Duration::from_secs(4) {
            let called = Instant::now();
            let error = peer.call(asked("/echo", b"a"), CallPath::default()).await.unwrap_err();
            assert!(matches!(error, PeerError::Unreachable(_)), "{greeting:?}: {error}");
            (asked_for, longest) = (asked_for + 1, longest.max(called.elapsed()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let came = came.load(Ordering::Relaxed);
        println!("{greeting:?}: {asked_for} calls, the longest {longest:?}, {came} connections");
        assert!(longest < Duration::from_secs(8), "{greeting:?}: {longest:?}");
        assert!((1..=12).contains(&came), "{greeting:?}: {came} connections");
    }
}

#[tokio::test]
async fn calls_without_end_of_one_peer_are_bounded_and_keep_no_other_waiting() {
    let server = Server::start().await;
    let (greedy, _) = server.peer();
    let mut held = JoinSet::new();
    for _ in 0..400 {
        let greedy = Arc::clone(&greedy);
        held.spawn(async move { greedy.call(asked("/never", b""), CallPath::default()).await.map(drop) });
    }
    let begun = Instant::now();
    while server.calls.load(Ordering::Relaxed) < 128 && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.calls.load(Ordering::Relaxed), 128, "no more at a time on one connection");
    let (other, _) = server.peer();
    assert_eq!(echoed(&other, &Bytes::from_static(b"mine")).await, ConnectionProtocol::Http3);
    // Once they are given up, others take their places.
    held.shutdown().await;
    assert_eq!(echoed(&greedy, &Bytes::from_static(b"mine")).await, ConnectionProtocol::Http3);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_closes_does_not_wait_for_whom_it_has_never_heard() {
    let server = Server::start().await;
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = quic::endpoint(quic::bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
    let (http3, to) =
        (QuicCarrier::new(own.clone(), quic::QuicLimits::default()), target(deaf.local_addr().unwrap()));
    let mut calls = JoinSet::new();
    calls.spawn(async move { http3.connect(&to, server.tls.as_ref()).await.is_ok() });
    while own.open_connections() == 0 {
        tokio::task::yield_now().await;
    }
    let begun = tokio::time::Instant::now();
    quic::close(&own).await;
    assert!(begun.elapsed() <= quic::FAREWELL + Duration::from_millis(1), "{:?}", begun.elapsed());
    assert_eq!(calls.join_next().await.unwrap().ok(), Some(false), "nobody was there");
}
