//! The server's end: requests of one connection, each served on its own, until the client or a drain ends it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use h3::error::{Code, ConnectionError, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, BodyStream, Empty, StreamBody};
use quinn::VarInt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::NO_ERROR;
use super::receiving::ReceivedBody;
use super::streams::{self, StreamConnection};
use crate::body::{Body, BoxError, boxed};

/// How long nothing is to be sent or sent again on a drained connection until its last answers count as taken; longer where
/// packets take long.
const QUIET: Duration = Duration::from_millis(200);
/// How much longer the frame of a head may be than a head that is served, so that it can be refused in words; a longer one ends
/// the connection without.
const HEADS_READ: u64 = 8;
/// How much of an answer is sent at a time, in bytes: a client that reads slowly is no client that does not read.
const PIECE: usize = 64 * 1024;

/// Limits of one HTTP/3 connection.
#[derive(Clone, Copy, Debug)]
pub struct Http3Limits {
    /// The largest head of a request, in bytes as HTTP/3 counts them. Larger ones are answered with 431, and those in frames of
    /// more than eight times as many bytes end the connection.
    pub head_bytes_max: u64,
    /// How long the head of a request may take.
    pub head_within: Duration,
    /// How long a client may take nothing of an answer before its stream is reset.
    pub write_within: Duration,
}

type AnswerStream = RequestStream<streams::SendHalf, Bytes>;

/// Serves a connection until it ends. Once `draining` is ready no further request is taken, those under way are brought to
/// their end, and the connection is closed.
///
/// # Errors
/// Why it ended otherwise than by a close.
pub async fn serve<S, F, B>(
    connection: quinn::Connection,
    limits: Http3Limits,
    draining: impl Future<Output = ()>,
    service: S,
) -> Result<(), ConnectionError>
where
    S: Fn(Request<Body>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut builder = h3::server::builder();
    builder.send_grease(false).max_field_section_size(limits.head_bytes_max);
    let (mut draining, mut drains) = (std::pin::pin!(draining), false);
    let streams = StreamConnection::new(connection.clone(), limits.head_bytes_max.saturating_mul(HEADS_READ));
    let stops = streams.stops();
    let building = builder.build(streams);
    let mut requests = tokio::select! {
        built = building => built?,
        () = &mut draining => {
            connection.close(NO_ERROR, b"");
            return Ok(());
        }
    };
    let mut calls = JoinSet::new();
    let ended = loop {
        if drains && calls.is_empty() {
            break Ok(());
        }
        tokio::select! {
            accepted = requests.accept() => match accepted {
                Ok(Some(request)) if drains => { calls.spawn(reject(request, limits)); }
                Ok(Some(request)) => { calls.spawn(call(request, stops.take(), limits, service.clone())); }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
            Some(_) = calls.join_next() => {}
            // What it has sent by then is taken; one more may be under way, and is rejected.
            () = &mut draining, if !drains => {
                drains = true;
                requests.shutdown(1).await?;
            }
        }
    };
    match ended {
        Ok(()) => {
            while calls.join_next().await.is_some() {}
            taken(&connection).await;
            connection.close(NO_ERROR, b"");
            Ok(())
        }
        Err(error) if error.is_h3_no_error() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns once nothing is sent on a connection any more: what was sent last was acknowledged, or the client is gone.
async fn taken(connection: &quinn::Connection) {
    let quiet = QUIET.max(connection.rtt() * 3);
    let mut sent = connection.stats().frame_tx.stream;
    loop {
        if timeout(quiet, connection.closed()).await.is_ok() {
            return;
        }
        let now = connection.stats().frame_tx.stream;
        if now == sent {
            return;
        }
        sent = now;
    }
}

type Resolver = RequestResolver<StreamConnection, Bytes>;

/// Tells a client that a request was not taken, so that it may be sent elsewhere.
async fn reject(request: Resolver, limits: Http3Limits) {
    if let Ok(Ok((_, mut stream))) = timeout(limits.head_within, request.resolve_request()).await {
        stream.stop_sending(Code::H3_REQUEST_REJECTED);
        stream.stop_stream(Code::H3_REQUEST_REJECTED);
    }
}

async fn call<S, F, B>(
    request: Resolver,
    stops: impl Future<Output = VarInt>,
    limits: Http3Limits,
    service: S,
) where
    S: Fn(Request<Body>) -> F,
    F: Future<Output = Response<B>>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let Ok(Ok((head, stream))) = timeout(limits.head_within, request.resolve_request()).await else {
        return tracing::debug!("stream ended: its request did not come or was none");
    };
    let (mut sending, receiving) = stream.split();
    let half = &mut sending;
    let answered = async move {
        let body = begun(&head, boxed(ReceivedBody::new(receiving, ())), limits).await;
        let response = service(head.map(|()| body)).await.map(boxed);
        answer(half, response, limits).await
    };
    // Of a request that is none nobody asks whether it is stopped: for each that does `quinn` keeps something.
    let failed = tokio::select! {
        answered = answered => answered.err(),
        code = stops => Some(format!("its client has stopped it with {code}").into()),
    };
    if let Some(error) = failed {
        tracing::debug!(error = error as BoxError, "answer not sent");
        // An answer that is not whole must not look as if it were.
        sending.stop_stream(Code::H3_INTERNAL_ERROR);
    }
}

/// The body of a request. Of one that reads it is waited for whether there is any, as nothing else says so.
async fn begun(head: &Request<()>, mut body: Body, limits: Http3Limits) -> Body {
    if !matches!(*head.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return body;
    }
    match timeout(limits.head_within, body.frame()).await {
        Ok(None) => boxed(Empty::new()),
        Ok(Some(first)) => boxed(StreamBody::new(stream::iter([first]).chain(BodyStream::new(body)))),
        Err(_) => body,
    }
}

async fn answer(
    sending: &mut AnswerStream,
    response: Response<Body>,
    limits: Http3Limits,
) -> Result<(), BoxError> {
    let (head, mut body) = response.into_parts();
    in_time(limits, sending.send_response(Response::from_parts(head, ()))).await?;
    // After its trailers a body is not asked again: some have more to say, which would end the connection.
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            // An empty frame would be read as the end.
            Ok(data) if data.is_empty() => {}
            Ok(mut data) => {
                while !data.is_empty() {
                    let piece = data.split_to(data.len().min(PIECE));
                    in_time(limits, sending.send_data(piece)).await?;
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    in_time(limits, sending.send_trailers(trailers)).await?;
                }
                break;
            }
        }
    }
    in_time(limits, sending.finish()).await
}

async fn in_time(
    limits: Http3Limits,
    sent: impl Future<Output = Result<(), StreamError>>,
) -> Result<(), BoxError> {
    match timeout(limits.write_within, sent).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err("the client does not read".into()),
    }
}
