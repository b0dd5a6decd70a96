//! Span of a call of another node: begins when it is sent, and ends with its answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use omnirelay_identity::caller_trace::TRACEPARENT;
use omnirelay_surface::{CallTrace, ChildSpan};
use omnirelay_transport::body::{Body, BoxError, boxed};
use tonic::Code;

/// Span of a call that is about to be sent; `None`: it is not recorded. Of a call that is of a trace the request says the context from
/// now on in any case.
pub(super) fn begin_span<B>(request: &mut Request<B>) -> Option<ChildSpan> {
    let (context, span) = CallTrace::current()?.calling(request.uri().path());
    // It is ASCII.
    if let Ok(context) = HeaderValue::try_from(context.to_string()) {
        request.headers_mut().insert(TRACEPARENT, context);
    }
    span
}

/// The answer, whose end is that of the span.
pub(super) fn ending_span(answer: Response<Body>, span: Option<ChildSpan>) -> Response<Body> {
    let Some(mut span) = span else { return answer };
    match code_in(answer.headers()) {
        Some(code) => {
            span.answered(code);
            answer
        }
        None => answer.map(|body| boxed(SpanningBody { body, span })),
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// Body of an answer, behind which stands how the call has ended.
struct SpanningBody {
    body: Body,
    span: ChildSpan,
}

impl http_body::Body for SpanningBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(code) = frame.trailers_ref().and_then(code_in)
        {
            self.span.answered(code);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
