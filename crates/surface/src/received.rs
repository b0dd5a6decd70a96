//! The body of a gRPC request as it comes in: its framing is checked, its messages are counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tonic::Status;
use tonic::body::Body;

use super::frame::{FrameError, FrameScan};
use super::guard::{self, DrainSignal};
use super::in_flight::InFlightShare;

/// Body of a request as it comes in, until something is wrong with it.
pub(super) struct ReceivedBody {
    body: Body,
    scan: FrameScan,
    /// Grows to the largest message; outlives the body, because the operation has the message then.
    share: Arc<InFlightShare>,
    /// For a client that streams: its operation hears here that the daemon drains.
    draining: Option<DrainSignal>,
}

impl ReceivedBody {
    pub(super) fn new(body: Body, scan: FrameScan, share: Arc<InFlightShare>) -> Self {
        Self { body, scan, share, draining: None }
    }

    /// For a client that streams, perhaps for days: of its messages only those are counted that are not whole, and
    /// it ends when the daemon drains.
    #[must_use]
    pub(super) fn until(mut self, draining: DrainSignal) -> Self {
        self.draining = Some(draining);
        self
    }

    fn drains(&mut self, cx: &mut Context<'_>) -> bool {
        self.draining.as_mut().is_some_and(|draining| draining.poll(cx).is_ready())
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, Status>>) -> Result<Option<Frame<Bytes>>, Fault> {
        match frame {
            Some(Ok(frame)) => {
                match frame.data_ref() {
                    Some(data) => {
                        let message_bytes = self.scan.push(data).map_err(refused)?;
                        match self.draining {
                            None => self.share.cover(message_bytes)?,
                            // What is whole is the operation's, which may have thousands on its way.
                            Some(_) => self.share.settle(self.scan.begun())?,
                        }
                    }
                    None => self.scan.finish().map_err(malformed)?,
                }
                Ok(Some(frame))
            }
            Some(Err(_)) => Err(malformed(FrameError::Truncated)),
            None => self.scan.finish().map(|()| None).map_err(malformed),
        }
    }
}

impl http_body::Body for ReceivedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let due = self.draining.as_mut().is_some_and(DrainSignal::is_due);
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if (due || frame.is_pending()) && self.drains(cx) {
            self.body = Body::empty();
            self.draining = None;
            return Poll::Ready(Some(Err(guard::draining().into())));
        }
        Poll::Ready(self.take(ready!(frame)).map_err(Status::from).transpose())
    }
}

fn refused(why: FrameError) -> Fault {
    match why {
        FrameError::TooLarge(bytes_max) => too_large(bytes_max),
        FrameError::Compressed | FrameError::Flag(_) | FrameError::Empty | FrameError::Truncated => {
            malformed(why)
        }
    }
}

/// Fault for a caller whose message is too large.
pub(super) fn too_large(bytes_max: usize) -> Fault {
    let message = format!("the message is larger than the {bytes_max} bytes this method takes");
    Fault::new(reasons::BODY_TOO_LARGE, message)
}

/// Fault for a caller whose request is not made of messages.
pub(super) fn malformed(why: impl std::fmt::Display) -> Fault {
    Fault::new(reasons::MALFORMED_MESSAGE, format!("the request cannot be read: {why}"))
}
