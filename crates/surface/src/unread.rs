//! Answers that a client does not read: noticed, so that its connection can be cut.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::head::AnswerTurn;

/// How slowly a large piece may be read, in bytes a second.
const BYTES_PER_SECOND_MIN: usize = 16 * 1024;
/// A larger piece is looked after until its last byte is sent; a smaller one until the next is asked for.
const LARGE_BYTES: usize = 4096;

/// How much the system holds for a node that does not read, in bytes; it may double it.
const NODE_SEND_BYTES: usize = 1024 * 1024;

/// Bounds what the system holds for a client that does not read, and for how long, where the system can.
///
/// Left to itself it holds megabytes of a stream, and a client whose window is shut for ever.
pub(super) fn bound(stream: &TcpStream, send_bytes: usize, timeout: Duration) {
    // Where they cannot be had the connection is served as the system sees fit.
    let outcome = rustix::net::sockopt::set_socket_send_buffer_size(stream, send_bytes);
    #[cfg(target_os = "linux")]
    let outcome = outcome.and_then(|()| {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(stream, timeout_ms)
    });
    #[cfg(not(target_os = "linux"))]
    let _ = timeout;
    if let Err(error) = outcome {
        tracing::debug!(%error, "send buffer of a connection is not bounded");
    }
}

/// Bounds what the system holds for a node, once it has proved that it is one: a domain is streamed to another cluster, which may be
/// far, and no more of it is on its way than this.
pub(super) fn bound_to_node(stream: &TcpStream) {
    if let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(stream, NODE_SEND_BYTES) {
        tracing::debug!(%error, "send buffer of a connection to a node is as for others");
    }
}

/// The pieces of one connection's answers that are on their way, each with when it has to be gone.
#[derive(Debug)]
pub(super) struct UnreadPieces {
    timeout: Duration,
    due: Mutex<HashMap<u64, Instant>>,
    next: AtomicU64,
}

impl UnreadPieces {
    pub(super) fn new(timeout: Duration) -> Arc<Self> {
        Arc::new(Self { timeout, due: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// Is ready once something was not read in time, up to half as much later.
    pub(super) async fn overdue(&self) {
        loop {
            tokio::time::sleep(self.timeout / 2).await;
            let now = Instant::now();
            if self.due.lock().values().any(|due| *due <= now) {
                return;
            }
        }
    }

    fn note(self: &Arc<Self>, bytes: usize) -> NotedPiece {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let patience = Duration::from_secs((bytes / BYTES_PER_SECOND_MIN) as u64);
        self.due.lock().insert(id, Instant::now() + self.timeout + patience);
        NotedPiece { of: Arc::clone(self), id }
    }
}

/// A piece that is looked after until this is dropped.
struct NotedPiece {
    of: Arc<UnreadPieces>,
    id: u64,
}

impl Drop for NotedPiece {
    fn drop(&mut self) {
        self.of.due.lock().remove(&self.id);
    }
}

/// Bytes that are looked after until the last of them is sent.
struct NotedBytes {
    bytes: Bytes,
    _noted: NotedPiece,
}

impl AsRef<[u8]> for NotedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An answer of which is noted what is not read.
pub(super) struct MeteredBody<B> {
    body: B,
    unread: Arc<UnreadPieces>,
    /// The piece that was given away last, until the next is asked for.
    last: Option<NotedPiece>,
    /// That it is the turn of this answer; `None`: others are given beside it.
    _answering: Option<AnswerTurn>,
}

impl<B> MeteredBody<B> {
    pub(super) fn new(body: B, unread: Arc<UnreadPieces>, answering: Option<AnswerTurn>) -> Self {
        Self { body, unread, last: None, _answering: answering }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for MeteredBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.last = None;
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        let frame = match frame.into_data() {
            Ok(bytes) if bytes.len() > LARGE_BYTES => {
                let noted = self.unread.note(bytes.len());
                Frame::data(Bytes::from_owner(NotedBytes { bytes, _noted: noted }))
            }
            Ok(bytes) => {
                self.last = Some(self.unread.note(bytes.len()));
                Frame::data(bytes)
            }
            Err(frame) => frame,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
