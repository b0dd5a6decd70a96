//! The client's end: calls on one connection, as many at a time as the server lets.

use std::task::Poll;

use bytes::Bytes;
use h3::client::{RequestStream, SendRequest};
use h3::error::{Code, StreamError};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::task::AbortHandle;

use super::receiving::ReceivedBody;
use super::streams::{self, StreamConnection};
use crate::body::{Body, BoxError, boxed};
use crate::carrier::CallError;

/// The largest head of an answer, in bytes as HTTP/3 counts them.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// The longest frame of a head: larger heads in there fail the call, longer frames the connection.
const HEAD_FRAME_BYTES_MAX: u64 = 2 * HEAD_BYTES_MAX;

type RequestSender = SendRequest<streams::StreamOpener, Bytes>;

/// HTTP/3 on a connection. It is closed once all clones and all answers are dropped.
#[derive(Clone)]
pub struct Http3Client {
    sender: RequestSender,
}

impl Http3Client {
    /// Begins HTTP/3 on a connection that has agreed on it.
    ///
    /// # Errors
    /// When the connection ends meanwhile.
    pub async fn begin(connection: quinn::Connection) -> Result<Self, BoxError> {
        let mut builder = h3::client::builder();
        builder.send_grease(false).max_field_section_size(HEAD_BYTES_MAX);
        let (mut driver, sender) =
            builder.build(StreamConnection::new(connection, HEAD_FRAME_BYTES_MAX)).await?;
        // Ends with the connection.
        tokio::spawn(async move {
            let ended = std::future::poll_fn(|cx| driver.poll_close(cx)).await;
            tracing::debug!(%ended, "HTTP/3 connection ended");
        });
        Ok(Self { sender })
    }

    /// Sends a request, and answers once the head of its answer is there.
    ///
    /// # Errors
    /// [`CallError`], which says whether the server may have taken it.
    pub async fn call(&self, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let (head, body) = request.into_parts();
        let mut sender = self.sender.clone();
        let sent = sender.send_request(Request::from_parts(head, ())).await;
        // Without its head the server knows nothing of it.
        let (sending, mut receiving) = sent.map_err(unsent)?.split();
        let sending = send(SendGuard { stream: sending, is_whole: false }, body);
        let rest = begun(sending).await;
        let response = receiving.recv_response().await.map_err(failed)?;
        Ok(response.map(|()| boxed(ReceivedBody::new(receiving, (sender, rest)))))
    }
}

/// What a request says whose head was not sent.
fn unsent(error: StreamError) -> CallError {
    match &error {
        StreamError::HeaderTooBig { .. } => CallError::TooLarge(error.into()),
        _ => CallError::NotSent(error.into()),
    }
}

/// What a failed call says of itself.
fn failed(error: StreamError) -> CallError {
    match &error {
        StreamError::RemoteTerminate { code, .. } if *code == Code::H3_REQUEST_REJECTED => {
            CallError::NotSent(error.into())
        }
        _ => CallError::Lost(error.into()),
    }
}

/// The half of a stream that is written; cancelled when it is dropped before its end, which would else look like one.
struct SendGuard {
    stream: RequestStream<streams::SendHalf, Bytes>,
    is_whole: bool,
}

impl Drop for SendGuard {
    fn drop(&mut self) {
        if !self.is_whole {
            self.stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        }
    }
}

async fn send(mut sending: SendGuard, body: Body) -> Result<(), BoxError> {
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => sending.stream.send_data(data).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    sending.stream.send_trailers(trailers).await?;
                }
                break;
            }
        }
    }
    sending.stream.finish().await?;
    sending.is_whole = true;
    Ok(())
}

/// A body that goes on while its answer is read, and no longer.
struct BodyTask(AbortHandle);

impl Drop for BodyTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends as much as there is room for; what is left, as of a stream, goes on by itself. Why it was not taken, the answer says.
async fn begun(sending: impl Future<Output = Result<(), BoxError>> + Send + 'static) -> Option<BodyTask> {
    let mut sending = Box::pin(sending);
    let first = std::future::poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await;
    first.is_pending().then(|| BodyTask(tokio::spawn(sending).abort_handle()))
}
