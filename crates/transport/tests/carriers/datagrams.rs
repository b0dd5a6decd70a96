//! Datagrams beside calls: they go both ways on a connection of either, and neither open nor keep one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use omnirelay_transport::datagrams::UnsentDatagram;
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_transport::peer::CallPath;
use omnirelay_transport::quic::QuicLimits;

use crate::lab::{Server, asked};

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn they_go_both_ways_where_a_connection_is_open() {
    let server = Server::start().await;
    let (peer, told) = server.peer();
    assert_eq!(peer.send_datagram(Bytes::from_static(b"ab")), Err(UnsentDatagram::NoConnection));
    assert_eq!(server.open_over_udp(), 0, "none is opened for it");
    peer.call(asked("/echo", b""), CallPath::default()).await.unwrap();
    peer.send_datagram(Bytes::from_static(b"ab")).unwrap();
    let mut heard = Vec::new();
    until("it comes back", || {
        heard.extend(told.datagrams());
        heard == ["ba"]
    })
    .await;
    assert_eq!(peer.send_datagram(Bytes::from(vec![0; 9000])), Err(UnsentDatagram::TooLarge));
    assert_eq!(peer.send_datagram(Bytes::from(vec![0; 1100])), Ok(()), "so much goes over any path");
}

#[tokio::test]
async fn over_tcp_there_are_none() {
    let server = Server::start().await;
    let (peer, _) = server.peer();
    peer.call(asked("/echo", b""), CallPath { bulk: true, ..CallPath::default() }).await.unwrap();
    assert_eq!(peer.send_datagram(Bytes::from_static(b"ab")), Err(UnsentDatagram::NoConnection));
}

#[tokio::test]
async fn who_hears_them_keeps_no_connection_open() {
    let server = Server::start().await;
    let (peer, told) = server.peer();
    peer.call(asked("/echo", b""), CallPath::default()).await.unwrap();
    assert_eq!(server.open_over_udp(), 1);
    drop(peer);
    until("it is closed", || server.open_over_udp() == 0).await;
    let (peer, _) = server.peer();
    peer.call(asked("/echo", b""), CallPath::default()).await.unwrap();
    peer.reconnect();
    until("what is not used any more is closed", || server.open_over_udp() == 0).await;
    peer.call(asked("/echo", b""), CallPath::default()).await.unwrap();
    peer.give_up_http3();
    assert_eq!(peer.used().why, Some(Downgrade::Lost));
    assert!(told.datagrams().is_empty());
}

#[tokio::test]
async fn a_connection_stays_open_while_a_call_is_under_way_and_no_longer() {
    let idle = Duration::from_secs(11);
    let limits = QuicLimits { idle, ..QuicLimits::default() };
    let server = Server::start_with("127.0.0.1:0", limits).await;
    let (waits, _) = server.peer();
    let (rests, _) = server.peer();
    rests.call(asked("/echo", b""), CallPath::default()).await.unwrap();
    let call =
        tokio::spawn(async move { waits.call(asked("/never", b""), CallPath::default()).await.map(drop) });
    tokio::time::sleep(idle + Duration::from_secs(3)).await;
    assert!(!call.is_finished(), "its connection is kept open");
    assert_eq!(server.open_over_udp(), 1, "the other is not");
    assert_eq!(rests.used().protocol, None);
}
