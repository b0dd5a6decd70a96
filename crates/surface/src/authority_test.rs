//! Tests of authorities, byte by byte and through a server.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use omnirelay_identity::caller::PeerInfo;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::{OMNIRELAY, Surface};

/// The symbols of the two shortest codes of HPACK and of the third, in the order of their codes.
const FIVE: &str = "012aceiost";
const SIX: &str = " %-./3456789=A_bdfghlmnpru";
const SEVEN: &str = ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz";

/// A text as HPACK codes it.
fn coded(text: &str) -> Vec<u8> {
    let mut bits = String::new();
    for symbol in text.chars() {
        let code =
            [(FIVE, 5, 0), (SIX, 6, 20), (SEVEN, 7, 92)].into_iter().find_map(|(symbols, length, first)| {
                let at = symbols.chars().position(|known| known == symbol)?;
                Some(format!("{:0length$b}", first + at))
            });
        bits.push_str(&code.unwrap());
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    bits.as_bytes()
        .chunks(8)
        .map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}

/// A block of headers whose authority is this, coded or not; `begin` says how the table is to keep it.
fn headers(begin: u8, authority: &str, is_coded: bool) -> Vec<u8> {
    let value = if is_coded { coded(authority) } else { authority.as_bytes().to_vec() };
    let length = u8::try_from(value.len()).unwrap() | if is_coded { 0x80 } else { 0 };
    // POST, http and /, then the authority, then a header of another name that is left alone.
    [&[0x83, 0x86, 0x84, begin, length][..], &value, &[0x00, 1, b'x', 3, b'%', b'2', b'F']].concat()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0, length[0], length[1], kind, flags, 0, 0, 0, stream][..], payload].concat()
}

#[test]
fn only_what_no_authority_has_is_written_over() {
    for begin in [0x41, 0x01, 0x11] {
        for is_coded in [false, true] {
            for (sent, read) in [
                ("%2Frun%2Fomnirelay%2Fcontrol.sock", "-2Frun-2Fomnirelay-2Fcontrol.sock"),
                ("/run/x.sock", "-run-x.sock"),
                ("localhost:17420", "localhost:17420"),
                ("", ""),
            ] {
                let mut block = headers(begin, sent, is_coded);
                assert!(rename(&mut block).is_some());
                assert_eq!(block, headers(begin, read, is_coded), "{sent}, {begin:x}, {is_coded}");
            }
        }
    }
    // As gRPC core has it, the name spelled out; and coded as well.
    for (name, length) in [(NAMES[0], 10), (NAMES[1], 0x80 | u8::try_from(NAMES[1].len()).unwrap())] {
        let spelled = |value: &[u8]| [&[0x40, length][..], name, &[9], value, &[0x83]].concat();
        let mut block = spelled(b"tmp%2Fa.s");
        assert!(rename(&mut block).is_some());
        assert_eq!(block, spelled(b"tmp-2Fa.s"));
    }
    assert_eq!(NAMES[1], coded(":authority"));
    // As RFC 7541, C.4.1 codes it.
    let known = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    assert_eq!(&known[5..], coded("www.example.com"));
    let mut block = known.to_vec();
    assert!(rename(&mut block).is_some() && block == known);
}

#[test]
fn what_is_no_block_is_left_to_whoever_reads_it() {
    for block in
        [&b"\x41"[..], b"\x41\x7f", b"\x41\xff\xff\xff\xff\xff", b"\x41\x05%2F", b"\x7f\xff\xff\xff\x01"]
    {
        let mut left = block.to_vec();
        assert!(rename(&mut left).is_none() && left == block, "{block:x?}");
    }
    assert!(block(PADDED, &mut [9, 0]).is_none() && block(PRIORITY, &mut [0; 3]).is_none());
    assert_eq!(block(PADDED | PRIORITY, &mut [1, 0, 0, 0, 0, 0, 7, 8, 0]), Some(&mut [7, 8][..]));
}

/// What a server is asked by when this comes in pieces of so many bytes: that many requests.
async fn asked(sent: &[u8], piece: usize, requests: usize) -> Vec<String> {
    let (client, server) = tokio::io::duplex(piece);
    let (heard, mut hears) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let _ = heard.send(request.uri().authority().map(ToString::to_string).unwrap_or_default());
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let served = tokio::spawn(async move {
        let io = TokioIo::new(SocketAuthority::new(server));
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    });
    let (mut reads, mut writes) = tokio::io::split(client);
    // Else the answers would stand in the way of the server.
    let reading = tokio::spawn(async move { reads.read_to_end(&mut Vec::new()).await });
    tokio::io::AsyncWriteExt::write_all(&mut writes, sent).await.unwrap();
    let mut asked = Vec::new();
    // Whoever is gone is asked nothing, so the client waits.
    while asked.len() < requests {
        let Ok(Some(authority)) = timeout(Duration::from_secs(10), hears.recv()).await else { break };
        asked.push(authority);
    }
    served.abort();
    reading.abort();
    asked
}

#[tokio::test]
async fn a_server_is_asked_by_whoever_names_the_socket() {
    let (path, named) = ("%2Ftmp%2Fa.sock", "-2Ftmp-2Fa.sock");
    let settings = frame(4, 0, 0, &[]);
    let padded = [&[3][..], &headers(0x41, path, true), &[0; 3]].concat();
    let sent = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &settings,
        &frame(1, 0x5, 1, &headers(0x41, path, true)),
        // The table has it by now, as the server has read it.
        &frame(1, 0x5, 3, &[0x83, 0x86, 0x84, 0xbe]),
        &frame(1, 0x5 | PADDED, 5, &padded),
        &frame(1, 0x5, 7, &headers(0x01, path, false)),
        &frame(1, 0x5, 9, &[&b"\x83\x86\x84\x40\x0a:authority\x0f"[..], path.as_bytes()].concat()),
    ]
    .concat();
    for piece in [1, 7, 64 * 1024] {
        assert_eq!(asked(&sent, piece, 5).await, [named; 5], "in pieces of {piece}");
    }
}

#[tokio::test]
async fn whoever_is_at_the_socket_may_call_it_by_any_name() {
    let healthz = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok" }));
    let surface = Surface::builder([OMNIRELAY]).routes(healthz).build().unwrap();
    let ask = async |peer: PeerInfo, host: &str, page: Option<&str>| {
        let mut request = Request::get("/healthz").header("host", host);
        if let Some(page) = page {
            request = request.header("origin", page);
        }
        surface.handle(request.body(tonic::body::Body::empty()).unwrap(), &peer).await.status().as_u16()
    };
    let near = || PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
    for host in ["x", "%2Frun%2Fcontrol.sock", "localhost"] {
        assert_eq!(ask(PeerInfo::of_user("ann"), host, None).await, 200, "{host}");
    }
    assert_eq!(ask(near(), "x", None).await, 403, "a name that a page may have been led to");
    for host in ["evil.example", "evil.example:17420"] {
        let page = format!("http://{host}");
        assert_eq!(ask(PeerInfo::of_user("ann"), host, Some(page.as_str())).await, 403, "a page of {host}");
    }
    assert_eq!(ask(PeerInfo::of_user("ann"), "x", Some("http://evil.example")).await, 403, "another's page");
    assert_eq!(ask(PeerInfo::of_user("ann"), "evil.example:17420", None).await, 403, "a port");
}
