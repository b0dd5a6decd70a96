//! Frames of HTTP/3 that never end: what a server keeps of them.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_transport::carrier::ClientTls as _;
use omnirelay_transport::{h3, quic};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ApplicationClose, ConnectionError, VarInt};

use crate::lab::{Server, asked};

/// RFC 9114, 8.1.
const H3_EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x107);
/// Far longer than what is waited for takes.
const AT_LAST: Duration = Duration::from_secs(60);
/// How long a frame says to be that never ends.
const ENDLESS: u64 = 1 << 40;

const HEADERS: u64 = 1;
const SETTINGS: u64 = 4;
const UNKNOWN: u64 = 0x21;
const CONTROL_STREAM: u8 = 0;
const ENCODER_STREAM: u8 = 2;
const UNKNOWN_STREAM: u8 = 0x21;

/// A connection that speaks no HTTP/3 yet, and what keeps it.
async fn connected(server: &Server) -> (quinn::Connection, quinn::Endpoint) {
    let endpoint = quic::endpoint(quic::bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
    let mut tls = server.tls.begin().unwrap().config;
    tls.alpn_protocols = vec![h3::ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let connecting = endpoint.connect_with(config, server.address, "node.mesh").unwrap();
    (connecting.await.unwrap(), endpoint)
}

/// What stands before the payload of a frame.
fn head(kind: u64, bytes: u64) -> Vec<u8> {
    [kind, bytes].map(|number| (number | 3 << 62).to_be_bytes()).concat()
}

/// Sends this, and then as many zeros in pieces as there is room for until that many are sent.
async fn send(stream: &mut quinn::SendStream, begin: &[u8], zeros: usize) -> Result<(), quinn::WriteError> {
    stream.write_all(begin).await?;
    let zeros = std::iter::repeat_n([0; 16 * 1024], zeros / (16 * 1024));
    for piece in zeros {
        stream.write_all(&piece).await?;
    }
    Ok(())
}

/// That the server closes a connection as one that asks too much.
async fn is_closed(connection: &quinn::Connection, what: &str) {
    let closed = tokio::time::timeout(AT_LAST, connection.closed()).await;
    let code = match closed.unwrap_or_else(|_| panic!("{what}: it is kept for ever")) {
        ConnectionError::ApplicationClosed(ApplicationClose { error_code, .. }) => error_code,
        error => panic!("{what}: {error}"),
    };
    assert_eq!(code, H3_EXCESSIVE_LOAD, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_kept_until_it_is_whole_is_refused_by_its_length() {
    let server = Server::start().await;
    let cases = [
        ("the head of a call", None, HEADERS),
        ("settings, in a call", None, SETTINGS),
        ("settings", Some(CONTROL_STREAM), SETTINGS),
        ("a head, on the control stream", Some(CONTROL_STREAM), HEADERS),
    ];
    for (what, stream, kind) in cases {
        let (connection, _endpoint) = connected(&server).await;
        let begin = [stream.as_slice(), &head(kind, ENDLESS)].concat();
        let mut sending = match stream {
            Some(_) => connection.open_uni().await.unwrap(),
            None => connection.open_bi().await.unwrap().0,
        };
        // It may be closed before all is sent.
        let _ = send(&mut sending, &begin, 1024 * 1024).await;
        is_closed(&connection, what).await;
    }
}

/// Each of them is as long as it may be, and lacks its end.
#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_end_are_few_together() {
    let server = Server::start().await;
    let (connection, _endpoint) = connected(&server).await;
    let mut streams = Vec::new();
    let bytes = 16 * 1024;
    for _ in 0..h3::UNDECODED_BYTES_MAX / bytes + 1 {
        let Ok((mut sending, receiving)) = connection.open_bi().await else { break };
        let _ = send(&mut sending, &head(HEADERS, bytes as u64 + 1), bytes).await;
        streams.push((sending, receiving));
    }
    is_closed(&connection, "heads without an end").await;
}

/// How much memory this process has, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_dropped_as_it_comes() {
    /// Far more than may be on its way.
    const SENT: usize = 64 * 1024 * 1024;
    let server = Server::start().await;
    let cases = [
        ("an unknown frame, in a call", None, head(UNKNOWN, ENDLESS)),
        ("an unknown frame, on the control stream", Some(CONTROL_STREAM), {
            [head(SETTINGS, 0), head(UNKNOWN, ENDLESS)].concat()
        }),
        ("instructions for a table of headers", Some(ENCODER_STREAM), Vec::new()),
    ];
    for (what, stream, begin) in cases {
        let (connection, _endpoint) = connected(&server).await;
        let begin = [stream.as_slice(), &begin].concat();
        let mut sending = match stream {
            Some(_) => connection.open_uni().await.unwrap(),
            None => connection.open_bi().await.unwrap().0,
        };
        let before = resident();
        let sent = tokio::time::timeout(AT_LAST, send(&mut sending, &begin, SENT)).await;
        sent.unwrap_or_else(|_| panic!("{what}: it is not read")).unwrap();
        let grown = resident().saturating_sub(before);
        assert!(grown < SENT as u64 / 2, "{what}: {grown} bytes are kept");
        assert!(connection.close_reason().is_none(), "{what}");
    }
    // A stream of a type that nobody knows is stopped.
    let (connection, _endpoint) = connected(&server).await;
    let mut sending = connection.open_uni().await.unwrap();
    let sent = tokio::time::timeout(AT_LAST, send(&mut sending, &[UNKNOWN_STREAM], SENT)).await.unwrap();
    assert!(matches!(sent, Err(quinn::WriteError::Stopped(_))), "{sent:?}");
    // All this while others are served.
    let (peer, _) = server.peer();
    peer.call(asked("/echo", b"word"), omnirelay_transport::peer::CallPath::REPEATABLE).await.unwrap();
}
