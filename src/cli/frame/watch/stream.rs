//! One connection to an event stream: server-sent events, or the messages of a gRPC stream, over the client that makes
//! every other call.

use std::pin::Pin;

use bytes::Bytes;
use eventsource_client::{
    BoxStream, Client as _, ClientBuilder, Error as SseError, ReconnectOptions, Response, SSE,
};
use futures_util::StreamExt as _;
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, Request, ResponseFuture, TransportError};
use omnirelay_core::text::chain;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use serde_json::Value;
use sync_wrapper::{SyncFuture, SyncStream};

use crate::frame::client::grpc::{GrpcStream, StreamLoss};
use crate::frame::client::{Client, EventRequest};
use crate::frame::error::{self, CliError};
use crate::frame::failure::{CallFailure, FailureKind};
use crate::frame::rpc::{Call, RpcMessage};

/// The largest error document that is read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// One event as the daemon sent it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamEvent {
    /// The document, unchanged.
    pub document: Value,
}

/// Reason why a stream cannot be had or has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StreamEnd {
    /// Try again, here or at another address.
    Failed(CallFailure),
    /// The daemon states a fault that may pass: try again as well.
    Later(CliError),
    /// The daemon states a fault; another try would end the same.
    Refused(CliError),
}

/// An open stream.
pub(crate) struct OpenEventStream {
    events: EventMessages,
    address: String,
}

/// Source that events come from.
enum EventMessages {
    Sse(BoxStream<Result<SSE, SseError>>),
    Grpc(Box<GrpcStream>),
}

impl From<CallFailure> for StreamEnd {
    /// Whoever is not believed now is not believed a second later.
    fn from(failure: CallFailure) -> Self {
        match failure.kind {
            FailureKind::Rejected => {
                let message = "the daemon takes the certificate of this command no more";
                Self::Refused(CliError::new(failure.kind.reason(), message).cause(failure.cause))
            }
            _ => Self::Failed(failure),
        }
    }
}

impl StreamEnd {
    /// What a fault means. One that is nobody's doing, such as an internal error, may pass as well.
    fn of(error: CliError) -> Self {
        if error.body().retryable || error.exit() == Exit::Error {
            Self::Later(error)
        } else {
            Self::Refused(error)
        }
    }
}

/// Opens the stream of `call` at the address the client would ask next.
///
/// It has the time of one request for it: a daemon may accept and then say nothing, or begin to say why
/// it refuses and not come to an end.
///
/// # Errors
/// Why it cannot be had.
pub(crate) async fn open(client: &Client, call: &Call, cursor: &str) -> Result<OpenEventStream, StreamEnd> {
    client.check_live().map_err(StreamEnd::Refused)?;
    let request = client.event_request();
    let (patience, line) = (request.timeout, request.line.clone());
    let opened = match &call.grpc {
        Some(_) => tokio::time::timeout(patience, connect_grpc(client, call, cursor)).await,
        None => tokio::time::timeout(patience, connect(client, request, call, cursor)).await,
    };
    opened.unwrap_or_else(|_| Err(StreamEnd::Failed(line.late())))
}

async fn connect_grpc(client: &Client, call: &Call, cursor: &str) -> Result<OpenEventStream, StreamEnd> {
    let address = client.address().to_string();
    let call = call.since(cursor).map_err(StreamEnd::Refused)?;
    let Some(message): Option<&RpcMessage> = call.grpc.as_ref() else {
        return Err(StreamEnd::Failed(CallFailure::closed()));
    };
    match client.open_grpc(&call, message).await {
        Ok(events) => Ok(OpenEventStream { events: EventMessages::Grpc(Box::new(events)), address }),
        Err(lost) => Err(lost_to(lost, &address)),
    }
}

fn lost_to(lost: StreamLoss, address: &str) -> StreamEnd {
    match lost {
        StreamLoss::Failed(failure) => failure.into(),
        StreamLoss::Answered(answer) => {
            let id = answer.header("x-request-id").map(str::to_owned);
            refusal_of(answer.status, &answer.body, address, id)
        }
    }
}

async fn connect(
    client: &Client,
    request: EventRequest,
    call: &Call,
    cursor: &str,
) -> Result<OpenEventStream, StreamEnd> {
    let address = client.address().to_string();
    let transport = EventTransport { request };
    let url = format!("{}{}", client.address().base(), call.path);
    let parameter = |error: SseError| StreamEnd::Failed(CallFailure::garbled(chain(&error)));
    let mut builder = ClientBuilder::for_url(&url)
        .map_err(parameter)?
        .reconnect(ReconnectOptions::reconnect(false).retry_initial(false).build())
        .redirect_limit(0);
    if !cursor.is_empty() {
        builder = builder.last_event_id(cursor.to_owned());
    }
    let events = builder.build_with_transport(transport).stream();
    let mut events = events;
    match events.next().await {
        Some(Ok(SSE::Connected(details))) => {
            accept(&address, details.response())?;
            Ok(OpenEventStream { events: EventMessages::Sse(events), address })
        }
        Some(Ok(_)) | None => Err(StreamEnd::Failed(CallFailure::closed())),
        Some(Err(error)) => Err(ended(error, &address).await),
    }
}

impl OpenEventStream {
    /// A stream of the given events, without a connection.
    #[cfg(test)]
    pub(crate) fn of(events: BoxStream<Result<SSE, SseError>>) -> Self {
        Self { events: EventMessages::Sse(events), address: String::new() }
    }

    /// The next event; heartbeats that are mere comments are `None`.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<StreamEvent>, StreamEnd> {
        let events = match &mut self.events {
            EventMessages::Sse(events) => events,
            EventMessages::Grpc(messages) => {
                let document = messages.next().await.map_err(|lost| lost_to(lost, &self.address))?;
                return Ok(Some(StreamEvent { document }));
            }
        };
        match events.next().await {
            Some(Ok(SSE::Event(event))) if event.event_type == "error" => Err(fault(&event.data)),
            Some(Ok(SSE::Event(event))) => match serde_json::from_str(&event.data) {
                Ok(document) => Ok(Some(StreamEvent { document })),
                Err(_) => Err(StreamEnd::Failed(CallFailure::garbled("an event was not JSON"))),
            },
            Some(Ok(SSE::Comment(_) | SSE::Connected(_))) => Ok(None),
            Some(Err(error)) => Err(ended(error, &self.address).await),
            None => Err(StreamEnd::Failed(CallFailure::closed())),
        }
    }
}

fn accept(address: &str, response: &Response) -> Result<(), StreamEnd> {
    let kind = response.get_header_value("content-type").ok().flatten().unwrap_or("no content type");
    if kind.starts_with("text/event-stream") {
        return Ok(());
    }
    let message = format!("{address} did not answer with a stream of events");
    Err(StreamEnd::Refused(
        CliError::new(reasons::UNEXPECTED_ANSWER, message).cause(format!("it answered with {kind}")),
    ))
}

/// What a fault means that the daemon states inside a stream, as the last event of it.
fn fault(data: &str) -> StreamEnd {
    match serde_json::from_str(data).ok().and_then(|problem| error::from_problem(&problem)) {
        Some(error) => StreamEnd::of(error),
        None => StreamEnd::Failed(CallFailure::garbled("the daemon ended the stream without saying why")),
    }
}

/// What the end of a stream means.
async fn ended(error: SseError, address: &str) -> StreamEnd {
    let failure = |error: &TransportError| match error.inner().downcast_ref::<CallFailure>() {
        Some(failure) => failure.clone(),
        None => CallFailure::garbled(chain(&error)),
    };
    match error {
        SseError::Transport(error) => failure(&error).into(),
        SseError::UnexpectedResponse(response, body) => {
            refusal(response.status(), body.into_stream(), address).await
        }
        SseError::Eof | SseError::UnexpectedEof => StreamEnd::Failed(CallFailure::closed()),
        SseError::TimedOut => StreamEnd::Failed(CallFailure::timeout()),
        other => StreamEnd::Failed(CallFailure::garbled(other.to_string())),
    }
}

/// What an answer other than a stream means: to be tried again only when it says so.
async fn refusal(status: u16, mut body: ByteStream, address: &str) -> StreamEnd {
    let mut text = Vec::new();
    while let Some(Ok(bytes)) = body.next().await {
        text.extend_from_slice(&bytes);
        if text.len() > PROBLEM_BYTES_MAX {
            break;
        }
    }
    refusal_of(status, &text, address, None)
}

fn refusal_of(status: u16, text: &[u8], address: &str, request_id: Option<String>) -> StreamEnd {
    let stated = serde_json::from_slice(text).ok().and_then(|problem| error::from_problem(&problem));
    match stated {
        Some(error) => StreamEnd::of(error.request_id(request_id)),
        None if status >= 500 => StreamEnd::Failed(CallFailure::garbled(format!("HTTP {status}"))),
        None => StreamEnd::Refused(
            CliError::new(reasons::UNEXPECTED_ANSWER, format!("{address} did not answer as omnirelayd does"))
                .cause(format!("HTTP {status}")),
        ),
    }
}

/// Makes requests of the event client with the client of every other call.
#[derive(Clone)]
struct EventTransport {
    request: EventRequest,
}

impl HttpTransport for EventTransport {
    fn request(&self, request: Request<Option<Bytes>>) -> ResponseFuture {
        let EventRequest { line, headers, timeout } = self.request.clone();
        Box::pin(SyncFuture::new(async move {
            let (mut parts, _) = request.into_parts();
            parts.headers.extend(headers);
            let request = reqwest::Request::try_from(Request::from_parts(parts, reqwest::Body::default()))
                .map_err(|error| TransportError::new(CallFailure::of(&error)))?;
            let proxy = line.proxy.as_deref();
            let response = tokio::time::timeout(timeout, line.http.execute(request))
                .await
                .map_err(|_| TransportError::new(line.late().through(proxy)))?
                .map_err(|error| TransportError::new(CallFailure::of(&error).through(proxy)))?;
            let mut answer = launchdarkly_sdk_transport::Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                headers.clone_from(response.headers());
            }
            let bytes = response
                .bytes_stream()
                .map(|chunk| chunk.map_err(|error| TransportError::new(CallFailure::of(&error))));
            let body: ByteStream = Pin::from(Box::new(SyncStream::new(bytes)) as Box<_>);
            answer.body(body).map_err(|error| TransportError::new(CallFailure::garbled(chain(&error))))
        }))
    }
}
