//! Preface of a connection: the version of HTTP that a client begins to speak, told without taking anything from it.
//!
//! What is taken has to be given back to whoever speaks the version, and costs each HTTP/1 connection a
//! second read buffer.

use std::io;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connection of which the beginning can be seen without being taken.
pub(super) trait PeekStream: Sync {
    /// Sees what has arrived, once something has; 0 bytes when the client has closed.
    fn peek(&self, into: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl PeekStream for TcpStream {
    async fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        Self::peek(self, into).await
    }
}

impl PeekStream for UnixStream {
    async fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        let look = || Ok(recv(self, &mut *into, RecvFlags::PEEK | RecvFlags::DONTWAIT)?.1);
        self.async_io(Interest::READABLE, look).await
    }
}

/// What every HTTP/2 connection begins with, and none of HTTP/1.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long the rest of a preface is waited for before the next look; doubled each time up to the second.
const WAITS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(250));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HttpVersion {
    Http1,
    Http2,
}

/// The version, as soon as it can be told; `None` when the client closed before.
///
/// It may never be told: the caller says how long it waits.
///
/// # Errors
/// Whatever the connection broke with.
pub(super) async fn version(stream: &impl PeekStream) -> io::Result<Option<HttpVersion>> {
    let mut begun = [0; PREFACE.len()];
    let (mut wait, wait_max) = WAITS;
    loop {
        let count = stream.peek(&mut begun).await?;
        if count == 0 {
            return Ok(None);
        }
        match PREFACE.strip_prefix(begun.get(..count).unwrap_or_default()) {
            None => return Ok(Some(HttpVersion::Http1)),
            Some([]) => return Ok(Some(HttpVersion::Http2)),
            // What was seen stays readable, so only time tells of more.
            Some(_) => tokio::time::sleep(wait).await,
        }
        wait = (wait * 2).min(wait_max);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// The version of a client that sends these pieces, each for itself, and closes.
    async fn of(pieces: &[&[u8]]) -> Option<HttpVersion> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let telling = tokio::spawn(async move { (version(&stream).await.unwrap(), stream) });
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        drop(client);
        telling.await.unwrap().0
    }

    #[tokio::test]
    async fn the_preface_is_known_in_pieces_and_nothing_else_is_taken_for_it() {
        let whole: &[&[u8]] = &[PREFACE];
        let cases = [
            ("a preface", whole, Some(HttpVersion::Http2)),
            ("a preface and more", &[PREFACE, b"\0\0\0"], Some(HttpVersion::Http2)),
            (
                "a preface in pieces",
                &[b"P", b"RI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n"],
                Some(HttpVersion::Http2),
            ),
            ("a get", &[b"GET / HTTP/1.1\r\n"], Some(HttpVersion::Http1)),
            ("a post in pieces", &[b"P", b"OST / HTTP/1.1\r\n"], Some(HttpVersion::Http1)),
            ("a byte that is no preface", &[b"G"], Some(HttpVersion::Http1)),
            ("nothing", &[], None),
        ];
        for (what, pieces, expected) in cases {
            assert_eq!(of(pieces).await, expected, "{what}");
        }
    }
}
