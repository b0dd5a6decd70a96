//! Streams over HTTP: server-sent events, or one JSON document a line.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use omnirelay_core::text::is_unseen;
use omnirelay_identity::caller::RequestId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::fields::{FieldValue, fields};
use omnirelay_wire::json::JsonError;
use omnirelay_wire::problem::Problem;
use parking_lot::Mutex;
use prost_reflect::{Kind, MessageDescriptor};
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use xxhash_rust::xxh64::xxh64;

use super::accept::AnswerForm;
use super::frame::FrameReader;
use super::routes::RouteBinding;

/// How long a client waits before it reconnects, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";
/// A comment: it only shows that the connection lives.
const HEARTBEAT: &[u8] = b":\n\n";
/// How long a stream may be silent before a heartbeat.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How long the first message is waited for, so that a stream that fails at once has a status of its own.
const FIRST_MESSAGE_GRACE: Duration = Duration::from_millis(50);

/// Fields in which the messages of a stream hold what an event needs.
pub(super) struct EventFields {
    cursor: Option<u32>,
    kind: Option<(u32, Vec<(i32, String)>)>,
    recent: EventFrameCache,
}

impl EventFields {
    pub(super) fn of(message: &MessageDescriptor) -> Self {
        let singular = |name| message.get_field_by_name(name).filter(|field| !field.is_list());
        let cursor = singular("cursor").filter(|field| field.kind() == Kind::String);
        let kind = singular("type").and_then(|field| {
            let kind = field.kind();
            let words = kind.as_enum()?.values().map(|value| (value.number(), value.name().to_owned()));
            Some((field.number(), words.collect()))
        });
        Self { cursor: cursor.map(|field| field.number()), kind, recent: EventFrameCache::default() }
    }

    /// Reads the cursor and the type word off the wire bytes of a message, without decoding the rest.
    fn read<'m>(&'m self, message: &'m [u8]) -> (Option<&'m str>, Option<&'m str>) {
        let (mut cursor, mut kind) = (None, None);
        for field in fields(message).map_while(Result::ok) {
            match field.value {
                FieldValue::Bytes(text) if Some(field.number) == self.cursor => {
                    cursor = std::str::from_utf8(text).ok().filter(|text| !text.is_empty());
                }
                FieldValue::Varint(value) => {
                    let Some((number, words)) = &self.kind else { continue };
                    if *number == field.number {
                        kind = words.iter().find(|(known, _)| i64::from(*known) == value.cast_signed());
                    }
                }
                FieldValue::Bytes(_) | FieldValue::Other => {}
            }
        }
        (cursor, kind.map(|(_, word)| word.as_str()))
    }
}

/// The body of a streaming answer over HTTP. Dropping it drops the stream it reads.
///
/// Nothing is queued here: the next message is taken when the client has taken the one before.
pub(super) struct EventStream {
    upstream: Body,
    frames: FrameReader,
    form: AnswerForm,
    binding: Arc<RouteBinding>,
    request_id: RequestId,
    heartbeat: Pin<Box<Sleep>>,
    begun: bool,
    over: bool,
}

impl EventStream {
    /// Begins to send a stream.
    ///
    /// # Errors
    /// The fault the stream ended with, when it did so before its first message.
    pub(super) async fn open(
        upstream: Body,
        form: AnswerForm,
        binding: Arc<RouteBinding>,
        request_id: RequestId,
    ) -> Result<Self, Fault> {
        let mut stream = Self {
            upstream,
            frames: FrameReader::default(),
            form,
            binding,
            request_id,
            heartbeat: Box::pin(tokio::time::sleep(HEARTBEAT_INTERVAL)),
            begun: false,
            over: false,
        };
        match tokio::time::timeout(FIRST_MESSAGE_GRACE, stream.upstream.frame()).await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => stream.frames.push(data),
                Err(frame) => {
                    stream.over = true;
                    if let Some(fault) = frame.trailers_ref().and_then(ended_with) {
                        return Err(fault);
                    }
                }
            },
            Ok(Some(Err(_)) | None) => return Err(Fault::internal(&stream.request_id)),
            Err(_elapsed) => {}
        }
        Ok(stream)
    }

    /// What is sent of a message; empty when that is nothing.
    fn encode(&self, message: &[u8]) -> Result<Bytes, JsonError> {
        if self.form == AnswerForm::Lines {
            let mut line = self.binding.answer_json(message)?.unwrap_or_default();
            if !line.is_empty() {
                line.push(b'\n');
            }
            return Ok(line.into());
        }
        let event = &self.binding.event;
        event.recent.get_or_encode(message, || {
            let json = self.binding.answer_json(message)?;
            let (cursor, kind) = event.read(message);
            Ok(event_frame(cursor, kind, json.as_deref()))
        })
    }

    /// The last thing that is sent when something went wrong.
    fn fail(&mut self, fault: Fault) -> Bytes {
        self.over = true;
        self.upstream = Body::empty();
        let problem = Problem::new(fault, self.request_id.as_str()).to_json();
        if self.form != AnswerForm::Lines {
            return event_frame(None, Some("error"), Some(&problem));
        }
        [&b"{\"error\":"[..], &problem, b"}\n"].concat().into()
    }

    fn broken(&mut self, cause: &dyn std::fmt::Display) -> Bytes {
        tracing::error!(method = self.binding.method.path, request_id = %self.request_id, error = %cause, "stream broke");
        let fault = Fault::internal(&self.request_id);
        self.fail(fault)
    }

    /// The next piece to send, if what was read so far holds one.
    fn next_piece(&mut self) -> Option<Bytes> {
        loop {
            let piece = match self.frames.next() {
                Ok(Some(message)) => match self.encode(&message) {
                    Ok(piece) => piece,
                    Err(error) => self.broken(&error),
                },
                Ok(None) => return None,
                Err(error) => self.broken(&error),
            };
            if !piece.is_empty() {
                return Some(piece);
            }
        }
    }

    /// Takes what the upstream says; `None` when it was data, now read.
    fn take_frame(&mut self, frame: Option<Result<Frame<Bytes>, tonic::Status>>) -> Option<Option<Bytes>> {
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                self.frames.push(data);
                None
            }
            Some(Ok(Err(frame))) => {
                self.over = true;
                let fault = frame.trailers_ref().and_then(ended_with);
                Some(fault.map(|fault| self.fail(fault)))
            }
            Some(Err(status)) => Some(Some(self.broken(&status))),
            None => {
                self.over = true;
                Some(None)
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.begun {
            self.begun = true;
            if self.form == AnswerForm::EventStream {
                return Poll::Ready(Some(Bytes::from_static(RETRY.as_bytes())));
            }
        }
        loop {
            if let Some(piece) = self.next_piece() {
                return Poll::Ready(Some(piece));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let Poll::Ready(frame) = Pin::new(&mut self.upstream).poll_frame(cx) else {
                return self.poll_heartbeat(cx);
            };
            if let Some(last) = self.take_frame(frame) {
                return Poll::Ready(last);
            }
        }
    }

    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.form != AnswerForm::EventStream || self.heartbeat.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Some(Bytes::from_static(HEARTBEAT)))
    }
}

impl http_body::Body for EventStream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.poll_piece(cx).map(|piece| {
            if piece.is_some() {
                self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT_INTERVAL);
            }
            piece.map(|piece| Ok(Frame::data(piece)))
        })
    }
}

/// The fault in a stream's trailers; `None` when it ended well.
fn ended_with(trailers: &HeaderMap) -> Option<Fault> {
    let status = tonic::Status::from_header_map(trailers)?;
    (status.code() != tonic::Code::Ok).then(|| Fault::from(&status))
}

/// One event. The JSON is on one line; an id that could break the frame is left out.
///
/// Without JSON it only moves the id to resume from: a client is shown no event. Empty when it has neither.
fn event_frame(id: Option<&str>, event: Option<&str>, json: Option<&[u8]>) -> Bytes {
    let id = id.filter(|id| !id.contains(is_unseen));
    if id.is_none() && json.is_none() {
        return Bytes::new();
    }
    let mut head = String::new();
    if let Some(id) = id {
        let _ = writeln!(head, "id: {id}");
    }
    if let Some(event) = event {
        let _ = writeln!(head, "event: {event}");
    }
    if let Some(json) = json {
        return [head.as_bytes(), b"data: ", json, b"\n\n"].concat().into();
    }
    head.push('\n');
    head.into()
}

/// The latest events as they were sent, so that one change is encoded once for all its watchers.
///
/// Direct-mapped and bounded: a message that is not there is encoded again.
#[derive(Default)]
struct EventFrameCache {
    /// Made for the first message: most methods never have one.
    slots: OnceLock<Box<[Mutex<Option<CachedFrame>>]>>,
}

struct CachedFrame {
    message: Box<[u8]>,
    frame: Bytes,
}

/// How many events are kept per method.
const RECENT_SLOTS: usize = 256;
/// Larger messages are not kept.
const RECENT_BYTES_MAX: usize = 4096;

impl EventFrameCache {
    fn get_or_encode(
        &self,
        message: &[u8],
        encode: impl FnOnce() -> Result<Bytes, JsonError>,
    ) -> Result<Bytes, JsonError> {
        let index = usize::try_from(xxh64(message, 0) % RECENT_SLOTS as u64).unwrap_or(0);
        let slots = self.slots.get_or_init(|| (0..RECENT_SLOTS).map(|_| Mutex::new(None)).collect());
        let slot = slots.get(index).filter(|_| message.len() <= RECENT_BYTES_MAX);
        let Some(slot) = slot else { return encode() };
        // Held while encoding: whoever wants the same event would only do the same work beside it.
        let mut sent = slot.lock();
        if let Some(sent) = sent.as_ref().filter(|sent| *sent.message == *message) {
            return Ok(sent.frame.clone());
        }
        let frame = encode()?;
        *sent = Some(CachedFrame { message: message.into(), frame: frame.clone() });
        Ok(frame)
    }
}

#[cfg(test)]
#[path = "sse_test.rs"]
mod tests;
