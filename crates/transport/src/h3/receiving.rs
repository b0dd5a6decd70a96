//! The body of a message while it is received.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use h3::error::{Code, StreamError};
use http::HeaderMap;
use http_body::Frame;

use super::streams;

/// The half of a stream that is read: that of a server and that of a client are two types.
pub(super) trait ReceiveStream: Send + 'static {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>>;
    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>>;
    /// Tells the other side to send no more.
    fn stop(&mut self);
}

macro_rules! receive {
    ($stream:ty, $code:expr) => {
        impl ReceiveStream for $stream {
            fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
                let polled = self.poll_recv_data(cx);
                polled.map_ok(|data| data.map(|mut data| data.copy_to_bytes(data.remaining())))
            }

            fn poll_trailers(
                &mut self,
                cx: &mut Context<'_>,
            ) -> Poll<Result<Option<HeaderMap>, StreamError>> {
                self.poll_recv_trailers(cx)
            }

            fn stop(&mut self) {
                self.stop_sending($code);
            }
        }
    };
}
receive! { h3::server::RequestStream<streams::ReceiveHalf, Bytes>, Code::H3_NO_ERROR }
receive! { h3::client::RequestStream<streams::ReceiveHalf, Bytes>, Code::H3_REQUEST_CANCELLED }

/// A body that comes in. Whoever drops it before its end has the other side told to send no more.
pub(super) struct ReceivedBody<S: ReceiveStream, K> {
    stream: S,
    next: NextPart,
    /// What lives as long as it does.
    _kept: K,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NextPart {
    Data,
    Trailers,
    Nothing,
}

impl<S: ReceiveStream, K> ReceivedBody<S, K> {
    pub(super) fn new(stream: S, kept: K) -> Self {
        Self { stream, next: NextPart::Data, _kept: kept }
    }
}

impl<S: ReceiveStream, K> Drop for ReceivedBody<S, K> {
    fn drop(&mut self) {
        if self.next != NextPart::Nothing {
            self.stream.stop();
        }
    }
}

impl<S: ReceiveStream + Unpin, K: Unpin> http_body::Body for ReceivedBody<S, K> {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        while this.next == NextPart::Data {
            match std::task::ready!(this.stream.poll_data(cx)) {
                Ok(Some(data)) if data.is_empty() => {}
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => this.next = NextPart::Trailers,
                Err(error) => {
                    this.next = NextPart::Nothing;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        if this.next == NextPart::Nothing {
            return Poll::Ready(None);
        }
        let trailers = std::task::ready!(this.stream.poll_trailers(cx));
        this.next = NextPart::Nothing;
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.next == NextPart::Nothing
    }
}
