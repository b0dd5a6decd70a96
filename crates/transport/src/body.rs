//! Bodies: of whatever carrier, as one type.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

/// Boxed error of any type, such as the one by which a body ended before it was whole.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request or an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Any body as [`Body`].
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A body that ends with an error once there is one, unless it is whole by then.
pub struct InterruptibleBody {
    body: Body,
    /// `None`: it has ended so.
    ends: Option<BoxFuture<'static, BoxError>>,
}

impl InterruptibleBody {
    pub fn new(body: Body, ends: BoxFuture<'static, BoxError>) -> Self {
        Self { body, ends: Some(ends) }
    }
}

impl http_body::Body for InterruptibleBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(mut ends) = self.ends.take() else { return Poll::Ready(None) };
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => match ends.as_mut().poll(cx) {
                Poll::Ready(error) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => Poll::Pending,
            },
            frame => frame,
        };
        self.ends = Some(ends);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
