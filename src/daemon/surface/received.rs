//! The body of a gRPC request as it comes in: its framing is checked, its messages are counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::frame::{FrameError, Scan};
use super::in_flight::Share;
use crate::wire::fault::{Code, Fault};

/// What came in, until something is wrong with it.
pub(super) struct Received {
    body: Body,
    scan: Scan,
    /// Grows to the largest message; outlives the body, because the operation has the message then.
    share: Arc<Share>,
}

impl Received {
    pub(super) fn new(body: Body, scan: Scan, share: Arc<Share>) -> Self {
        Self { body, scan, share }
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, Status>>) -> Result<Option<Frame<Bytes>>, Fault> {
        match frame {
            Some(Ok(frame)) => {
                match frame.data_ref() {
                    Some(data) => {
                        let message_bytes = self.scan.push(data).map_err(refused)?;
                        self.share.cover(message_bytes)?;
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

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(self.take(frame).map_err(Status::from).transpose())
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

/// What a caller is told whose message is too large.
pub(super) fn too_large(bytes_max: usize) -> Fault {
    let message = format!("the message is larger than the {bytes_max} bytes this method takes");
    Fault::new(Code::InvalidArgument, "BODY_TOO_LARGE", message)
}

/// What a caller is told whose request is not made of messages.
pub(super) fn malformed(why: impl std::fmt::Display) -> Fault {
    Fault::new(Code::InvalidArgument, "MALFORMED_MESSAGE", format!("the request cannot be read: {why}"))
}
