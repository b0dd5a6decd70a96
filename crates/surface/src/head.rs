//! Time limit for the head of a request over HTTP/1.1, apart from that for a connection on which nothing is asked.
//!
//! The library knows one time for both. Load balancers keep connections for a minute, and would get none of a client that sends
//! a head byte by byte: so the time of that begins with its first byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

use super::writes_through::writes_through;

/// Turns on a connection: the client asks, the daemon answers, or neither says anything.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionTurns(Arc<AtomicU8>);

/// A client has begun to ask; so it does with the connection.
const ASKS: u8 = 0;
/// The daemon answers.
const ANSWERS: u8 = 1;
/// Nobody says anything.
const IDLE: u8 = 2;

impl ConnectionTurns {
    fn now(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// It is the daemon's turn, until this is dropped.
    pub(super) fn answer(&self) -> AnswerTurn {
        self.0.store(ANSWERS, Ordering::Relaxed);
        AnswerTurn(self.clone())
    }
}

/// Guard of the daemon's turn: for as long as it lives, the daemon answers.
#[derive(Debug)]
pub(super) struct AnswerTurn(ConnectionTurns);

impl Drop for AnswerTurn {
    fn drop(&mut self) {
        self.0.0.store(IDLE, Ordering::Relaxed);
    }
}

/// A connection that ends when the head of a request takes too long.
pub(super) struct HeadTimeout<S> {
    stream: S,
    turns: ConnectionTurns,
    limit: Duration,
    /// When the head that has begun has to be there.
    due: Option<Pin<Box<Sleep>>>,
}

impl<S> HeadTimeout<S> {
    pub(super) fn new(stream: S, turns: ConnectionTurns, limit: Duration) -> Self {
        Self { stream, turns, limit, due: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadTimeout<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.turns.now() {
            ASKS => {
                let due = this.due.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.limit)));
                if due.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Pin::new(&mut this.stream).poll_read(cx, into)
            }
            turn => {
                this.due = None;
                let before = into.filled().len();
                let polled = Pin::new(&mut this.stream).poll_read(cx, into);
                if turn == IDLE && into.filled().len() > before {
                    this.turns.0.store(ASKS, Ordering::Relaxed);
                }
                polled
            }
        }
    }
}

writes_through!(HeadTimeout);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    fn connection() -> (DuplexStream, HeadTimeout<DuplexStream>, ConnectionTurns) {
        let (client, server) = tokio::io::duplex(64);
        let turns = ConnectionTurns::default();
        (client, HeadTimeout::new(server, turns.clone(), LIMIT), turns)
    }

    /// What comes of a client that sends a byte each second for ever.
    async fn drips(head: &mut HeadTimeout<DuplexStream>, client: &mut DuplexStream) -> io::Error {
        let mut byte = [0];
        loop {
            client.write_all(b"a").await.unwrap();
            match timeout(Duration::from_secs(1), head.read_exact(&mut byte)).await {
                Ok(Ok(_)) => tokio::time::sleep(Duration::from_secs(1)).await,
                Ok(Err(error)) => return error,
                Err(_) => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_ends_the_connection() {
        let (mut client, mut head, turns) = connection();
        let begun = tokio::time::Instant::now();
        assert_eq!(drips(&mut head, &mut client).await.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() <= LIMIT + Duration::from_secs(2));
        // So does the next one, however long nothing was asked before.
        drop((client, head, turns));
        let (mut client, head, turns) = connection();
        let mut head = HeadTimeout { due: None, ..head };
        drop(turns.answer());
        let mut byte = [0];
        assert!(timeout(LIMIT * 4, head.read_exact(&mut byte)).await.is_err(), "nothing is asked");
        let begun = tokio::time::Instant::now();
        assert_eq!(drips(&mut head, &mut client).await.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() <= LIMIT + Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_body_of_a_request_takes_what_it_takes() {
        let (mut client, mut head, turns) = connection();
        let answering = turns.answer();
        let mut byte = [0];
        for _ in 0..60 {
            client.write_all(b"a").await.unwrap();
            head.read_exact(&mut byte).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        drop(answering);
        client.write_all(b"a").await.unwrap();
        head.read_exact(&mut byte).await.unwrap();
        assert_eq!(turns.now(), ASKS);
    }
}
