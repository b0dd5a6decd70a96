//! Leftover of a request over HTTP/1.1 whose answer is there before all of it was read.
//!
//! The next request on a connection begins where this one ends. So the rest is read if it is small and on its way; else the
//! connection ends with the answer, and the answer says so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

/// How much of a rest is read so that a connection goes on, in bytes.
const REST_BYTES_MAX: u64 = 64 * 1024;
/// How long that may take.
const REST_WITHIN: Duration = Duration::from_millis(250);

/// Place for a body that was dropped before its end.
type DroppedBody<B> = Arc<Mutex<Option<B>>>;

/// The body of a request that tells whether it was read.
pub(super) struct LeftoverBody<B> {
    /// `None` once it has ended.
    body: Option<B>,
    dropped: DroppedBody<B>,
}

/// Leftover of a request.
pub(super) struct Leftover<B> {
    dropped: DroppedBody<B>,
    /// Whether the client waits to be asked for the body.
    waits: bool,
}

/// Watches the body of a request.
pub(super) fn watched<B>(request: Request<B>) -> (Request<LeftoverBody<B>>, Leftover<B>) {
    let dropped = DroppedBody::default();
    let leftover = Leftover { dropped: Arc::clone(&dropped), waits: request.headers().contains_key(EXPECT) };
    (request.map(|body| LeftoverBody { body: Some(body), dropped }), leftover)
}

impl<B: Body<Data = Bytes> + Unpin> Leftover<B> {
    /// Whether another request may follow: nothing is left, or it was read here.
    pub(super) async fn settle(self) -> bool {
        let left = self.dropped.lock().take();
        let Some(mut body) = left.filter(|body| !body.is_end_stream()) else { return true };
        if self.waits || body.size_hint().lower() > REST_BYTES_MAX {
            return false;
        }
        let read = tokio::time::timeout(REST_WITHIN, async {
            let mut room = REST_BYTES_MAX;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(left) = room.checked_sub(bytes) else { return false };
                room = left;
            }
            true
        });
        read.await.unwrap_or(false)
    }
}

impl<B> Drop for LeftoverBody<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *self.dropped.lock() = Some(body);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for LeftoverBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    type Piece = Result<Frame<Bytes>, std::io::Error>;

    fn pieces(sizes: &[usize]) -> Vec<Piece> {
        sizes.iter().map(|size| Ok(Frame::data(Bytes::from(vec![0; *size])))).collect()
    }

    /// Whether a connection goes on whose request was answered once this many pieces of it were read.
    async fn goes_on(body: impl Body<Data = Bytes> + Unpin, read: usize, waits: bool) -> bool {
        let request = Request::post("/");
        let request = if waits { request.header(EXPECT, "100-continue") } else { request };
        let (request, leftover) = watched(request.body(body).unwrap());
        let mut body = request.into_body();
        for _ in 0..read {
            let _ = body.frame().await;
        }
        drop(body);
        leftover.settle().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_goes_on_where_little_is_left() {
        let half = usize::try_from(REST_BYTES_MAX / 2).unwrap();
        let stream = |sizes: &[usize]| StreamBody::new(futures_util::stream::iter(pieces(sizes)));
        assert!(goes_on(Full::<Bytes>::default(), 0, false).await, "there is none");
        assert!(goes_on(Full::from(vec![0; half]), 0, false).await, "a small one");
        assert!(!goes_on(Full::from(vec![0; 2 * half + 1]), 0, false).await, "a large one");
        assert!(!goes_on(Full::from(vec![0; half]), 0, true).await, "one that nobody has asked for");
        assert!(goes_on(stream(&[half, half, half]), 1, false).await, "the rest is small");
        assert!(!goes_on(stream(&[half, half, half]), 0, false).await, "it is as large as it comes");
        assert!(goes_on(stream(&[half, half, half]), 4, false).await, "all was read");
        let slow = futures_util::StreamExt::chain(
            futures_util::stream::iter(pieces(&[1])),
            futures_util::stream::pending(),
        );
        assert!(!goes_on(StreamBody::new(slow), 0, false).await, "the rest does not come");
    }
}
