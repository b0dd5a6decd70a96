//! A stream under way: ends it at its deadline and when the daemon drains, and survives its panics.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::Frame;
use omnirelay_wire::codec::undecodable;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;

use super::deadline;
use super::observe::ObservedCall;
use super::pipeline::{grpc_code, is_internal, panic_text};
use super::received;

/// After how many pieces of a stream that always has more it is looked whether it has to end: looking for each
/// would cost more than what most of them hold.
const LOOK_EVERY: u8 = 64;

/// How long an operation that hears of the end may take to say what is due, and end by itself.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Signal that becomes ready when the daemon drains.
pub(super) struct DrainSignal {
    waiting: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Counts what has passed by since it was looked.
    passed: u8,
}

impl DrainSignal {
    pub(super) fn new(mut draining: watch::Receiver<bool>) -> Self {
        let waiting = Box::pin(async move {
            // The sender lives as long as the surface; when it is gone, so is the daemon.
            let _ = draining.wait_for(|draining| *draining).await;
        });
        Self { waiting, passed: 0 }
    }

    /// Ready some time later.
    fn and(self, later: Duration) -> Self {
        let waiting = self.waiting;
        let waiting = Box::pin(async move {
            waiting.await;
            tokio::time::sleep(later).await;
        });
        Self { waiting, passed: 0 }
    }

    /// Whether it is time to look although there is more: once in [`LOOK_EVERY`] times.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.passed == 0;
        self.passed = (self.passed + 1) % LOOK_EVERY;
        due
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.waiting.as_mut().poll(cx)
    }
}

/// Fault with which a stream ends when the daemon stops.
pub(super) fn draining() -> Fault {
    Fault::new(reasons::DRAINING, "the daemon is stopping and ends its streams")
        .hint("resume on another daemon, or on this one once it is back")
}

/// The body of a streaming answer; its end is the end of the call.
pub(super) struct GuardedBody {
    body: Body,
    /// `None` once the stream is over.
    watched: Option<ObservedCall>,
    deadline: Option<Pin<Box<Sleep>>>,
    draining: DrainSignal,
    /// What its caller is told as soon as nothing proves who that is; `None`: that ends with the connection.
    unproven: Option<BoxFuture<'static, Fault>>,
}

impl GuardedBody {
    pub(super) fn new(
        body: Body,
        watched: ObservedCall,
        deadline: Option<Instant>,
        draining: DrainSignal,
    ) -> Self {
        Self {
            body,
            watched: Some(watched),
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            draining,
            unproven: None,
        }
    }

    /// Ends the stream as soon as this is ready.
    #[must_use]
    pub(super) fn until(self, unproven: Option<BoxFuture<'static, Fault>>) -> Self {
        Self { unproven, ..self }
    }

    /// Lets an operation that hears of the end from its own stream say what is due.
    #[must_use]
    pub(super) fn with_last_words(mut self) -> Self {
        self.draining = self.draining.and(LAST_WORDS);
        self
    }

    /// Ends the stream with a fault of the pipeline's own.
    fn end(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if let Some(watched) = self.watched.take() {
            watched.fail(&fault);
        }
        self.body = Body::empty();
        Poll::Ready(Some(trailers(fault)))
    }

    fn why_end_now(&mut self, watched: &str, cx: &mut Context<'_>) -> Option<Fault> {
        if self.draining.poll(cx).is_ready() {
            return Some(draining());
        }
        if let Some(Poll::Ready(fault)) = self.unproven.as_mut().map(|unproven| unproven.as_mut().poll(cx)) {
            self.unproven = None;
            return Some(fault);
        }
        let elapsed = self.deadline.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        elapsed.then(|| deadline::elapsed(watched, false, None))
    }

    /// Looks at the trailers the operation ended with.
    fn ended(&mut self, given: HeaderMap) -> Result<Frame<Bytes>, tonic::Status> {
        let Some(watched) = self.watched.take() else { return Ok(Frame::trailers(given)) };
        let code = grpc_code(&given).unwrap_or(tonic::Code::Unknown);
        if is_internal(code) {
            if let Some(why) = undecodable(&given) {
                let fault = received::malformed(why);
                watched.finish(fault.code.grpc());
                return trailers(fault);
            }
            watched.log_internal(&given);
            let fault = Fault::internal(&watched.request_id);
            watched.finish(tonic::Code::Internal);
            return trailers(fault);
        }
        watched.finish(code);
        Ok(Frame::trailers(given))
    }

    fn panicked(&mut self, cause: &str) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let Some(watched) = &self.watched else { return Poll::Ready(None) };
        watched.log_panic(cause);
        let fault = Fault::internal(&watched.request_id);
        self.end(fault)
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let Some(method) = self.watched.as_ref().map(|watched| watched.method) else {
            return Poll::Ready(None);
        };
        let due = self.draining.is_due();
        if due && let Some(fault) = self.why_end_now(method, cx) {
            return self.end(fault);
        }
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.body).poll_frame(cx)));
        let frame = match polled {
            Ok(Poll::Ready(frame)) => frame,
            // Whoever waits has to be woken by the end as well.
            Ok(Poll::Pending) => {
                let fault = if due { None } else { self.why_end_now(method, cx) };
                return fault.map_or(Poll::Pending, |fault| self.end(fault));
            }
            Err(panic) => return self.panicked(panic_text(panic.as_ref())),
        };
        match frame.map(|frame| frame.map(Frame::into_trailers)) {
            Some(Ok(Ok(given))) => Poll::Ready(Some(self.ended(given))),
            Some(Ok(Err(data))) => Poll::Ready(Some(Ok(data))),
            Some(Err(status)) => self.panicked(status.message()),
            None => self.panicked("a stream ended without saying how"),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.watched.is_none()
    }
}

fn trailers(fault: Fault) -> Result<Frame<Bytes>, tonic::Status> {
    let mut map = HeaderMap::new();
    tonic::Status::from(fault).add_header(&mut map)?;
    Ok(Frame::trailers(map))
}
