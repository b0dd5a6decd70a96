//! The two shapes of telemetry on the wire, told apart and read.
//!
//! On one and the same path older agents stream bare `TelemetryFrame`s and newer ones `AgentStreamMessage`s, which are
//! an envelope around one field. Nothing announces which it is, but no message of the one shape that is worth anything
//! can be taken for one of the other: a bare frame has a number (`seq`), an envelope never has.

use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

use super::encoded::EncodedMessage;
use super::pb::aeroarc::agent::v1 as pb;
use super::raw::RawMessage;
use pb::relay_stream_message::Payload as Answered;

/// Shape in which one stream puts its messages on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamShape {
    /// Bare frames, bare acknowledgements, no commands.
    Legacy,
    /// Everything in an envelope.
    Envelope,
}

impl StreamShape {
    /// As it stands in answers and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Envelope => "envelope",
        }
    }
}

/// One message of an agent.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is a frame, which a box would cost an allocation"
)]
pub enum FromAgent {
    Frame {
        frame: pb::TelemetryFrame,
        /// The bytes of the frame alone.
        raw: Bytes,
    },
    CommandAck(EncodedMessage<pb::OperationContextCommandAck>),
    /// Something newer than this relay.
    Unknown,
}

/// Reason why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GarbledMessage {
    #[error("the message is no telemetry")]
    Undecodable(#[source] DecodeError),
    #[error("the message ends inside a field")]
    Truncated,
    #[error("the stream began with {} messages, this one is {}", .began.word(), .came.word())]
    OtherShape { began: StreamShape, came: StreamShape },
}

impl StreamShape {
    /// Reads one message of a stream of this shape.
    ///
    /// # Errors
    /// [`GarbledMessage`]: nothing on the stream can be trusted any more.
    pub fn read(self, message: &RawMessage) -> Result<FromAgent, GarbledMessage> {
        match self {
            Self::Legacy => read_bare(&message.0),
            Self::Envelope => read_envelope(&message.0),
        }
    }

    /// An acknowledgement for a stream of this shape.
    pub fn ack(self, ack: pb::TelemetryAck) -> RawMessage {
        match self {
            Self::Legacy => RawMessage(ack.encode_to_vec().into()),
            Self::Envelope => to_agent(Answered::TelemetryAck(ack)),
        }
    }
}

/// A command, as it came, which only agents with envelopes can read. `number` is that of its field.
pub fn command_to_agent<C: Message + Default>(number: u32, command: &EncodedMessage<C>) -> RawMessage {
    RawMessage(EncodedMessage::around(pb::RelayStreamMessage::default(), number, command).bytes().clone())
}

fn to_agent(payload: Answered) -> RawMessage {
    RawMessage(pb::RelayStreamMessage { payload: Some(payload) }.encode_to_vec().into())
}

/// Shape of a stream that begins with this message; `else_as` when it says nothing of it, as an empty one does.
///
/// # Errors
/// When it is no message at all.
pub fn shape_of(message: &RawMessage, else_as: StreamShape) -> Result<StreamShape, GarbledMessage> {
    Ok(MessageOutline::of(&message.0)?.shape().unwrap_or(else_as))
}

fn read_bare(message: &Bytes) -> Result<FromAgent, GarbledMessage> {
    let decoded = pb::TelemetryFrame::decode(message.clone());
    // A frame with a number cannot be anything else; all others are looked at more closely.
    if decoded.as_ref().map_or(true, |frame| frame.seq == 0) {
        refuse_other(StreamShape::Legacy, message)?;
    }
    let frame = decoded.map_err(GarbledMessage::Undecodable)?;
    Ok(FromAgent::Frame { frame, raw: message.clone() })
}

fn read_envelope(message: &Bytes) -> Result<FromAgent, GarbledMessage> {
    if let Some(raw) = only_field(1, message) {
        let frame = pb::TelemetryFrame::decode(raw.clone()).map_err(GarbledMessage::Undecodable)?;
        return Ok(FromAgent::Frame { frame, raw });
    }
    if let Some(ack) = only_field(2, message) {
        return Ok(FromAgent::CommandAck(EncodedMessage::read(ack).map_err(GarbledMessage::Undecodable)?));
    }
    refuse_other(StreamShape::Envelope, message)?;
    Ok(FromAgent::Unknown)
}

fn refuse_other(began: StreamShape, message: &Bytes) -> Result<(), GarbledMessage> {
    match MessageOutline::of(message)?.shape() {
        Some(came) if came != began => Err(GarbledMessage::OtherShape { began, came }),
        Some(_) | None => Ok(()),
    }
}

/// The value of the field with this number, at most 15, if the message holds nothing else.
fn only_field(number: u8, message: &Bytes) -> Option<Bytes> {
    let mut rest = message.clone();
    if rest.try_get_u8().ok()? != number << 3 | WireType::LengthDelimited as u8 {
        return None;
    }
    let length = decode_varint(&mut rest).ok()?;
    (length == rest.len() as u64).then_some(rest)
}

/// Outline of a message: what stands on its outermost level.
#[derive(Default)]
struct MessageOutline {
    /// The one field with its value, if that is a length-delimited one; `None` when there are more, or none.
    only: Option<(u32, Option<Bytes>)>,
    fields: usize,
    /// There is something that only a bare frame has.
    of_frame: bool,
}

impl MessageOutline {
    fn of(message: &Bytes) -> Result<Self, GarbledMessage> {
        let mut rest = message.clone();
        let mut outline = Self::default();
        while !rest.is_empty() {
            let (number, wire_type) = decode_key(&mut rest).map_err(GarbledMessage::Undecodable)?;
            let value = if wire_type == WireType::LengthDelimited {
                let length = decode_varint(&mut rest).map_err(GarbledMessage::Undecodable)?;
                let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
                Some(rest.split_to(length.ok_or(GarbledMessage::Truncated)?))
            } else {
                skip_field(wire_type, number, &mut rest, DecodeContext::default())
                    .map_err(GarbledMessage::Undecodable)?;
                None
            };
            // A oneof writes one field.
            let another = outline.fields > 0 && outline.only.as_ref().is_none_or(|(only, _)| *only != number);
            outline.of_frame |= another || is_of_frame(number, wire_type);
            outline.only = (outline.fields == 0).then_some((number, value));
            outline.fields += 1;
        }
        Ok(outline)
    }

    /// The shape, if it can be one only.
    fn shape(&self) -> Option<StreamShape> {
        if self.of_frame {
            return Some(StreamShape::Legacy);
        }
        let (number, value) = self.only.as_ref()?;
        let value = value.as_ref()?;
        let envelope = match number {
            1 => is_frame(value),
            2 => is_command_ack(value),
            // Numbers in a frame; messages in an envelope that is newer than this relay.
            3..=5 | 8 | 13 => true,
            _ => false,
        };
        envelope.then_some(StreamShape::Envelope)
    }
}

/// Whether a field with this number and type is in frames only.
fn is_of_frame(number: u32, wire_type: WireType) -> bool {
    matches!((number, wire_type), (3 | 4 | 8 | 13, WireType::Varint) | (5, WireType::SixtyFourBit))
}

/// Text is a message by chance now and then, but hardly one with these numbers.
fn is_frame(value: &Bytes) -> bool {
    pb::TelemetryFrame::decode(value.clone()).is_ok_and(|frame| frame.seq > 0 || frame.sent_at_unix_ns > 0)
}

fn is_command_ack(value: &Bytes) -> bool {
    let decoded = pb::OperationContextCommandAck::decode(value.clone());
    decoded.is_ok_and(|ack| !ack.command_id.is_empty() && ack.status > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> pb::TelemetryFrame {
        pb::TelemetryFrame {
            agent_id: "a1".to_owned(),
            seq: 7,
            sent_at_unix_ns: 1_700_000_000_000_000_000,
            raw_mavlink: Bytes::from_static(b"{}"),
            dialect: "common".to_owned(),
            msg_name: "*minimal.MessageHeartbeat".to_owned(),
            ..Default::default()
        }
    }

    fn bare(frame: &pb::TelemetryFrame) -> RawMessage {
        RawMessage(frame.encode_to_vec().into())
    }

    fn wrapped(payload: pb::agent_stream_message::Payload) -> RawMessage {
        RawMessage(pb::AgentStreamMessage { payload: Some(payload) }.encode_to_vec().into())
    }

    fn in_envelope(frame: &pb::TelemetryFrame) -> RawMessage {
        wrapped(pb::agent_stream_message::Payload::TelemetryFrame(frame.clone()))
    }

    fn command_ack() -> pb::OperationContextCommandAck {
        pb::OperationContextCommandAck { command_id: "c1".to_owned(), status: 1, ..Default::default() }
    }

    #[test]
    fn shapes_are_told_apart_by_one_message() {
        let (legacy, envelope) = (Some(StreamShape::Legacy), Some(StreamShape::Envelope));
        let ack = wrapped(pb::agent_stream_message::Payload::OperationContextCommandAck(command_ack()));
        let newer = RawMessage(Bytes::from_static(b"\x1a\x04\x0a\x02id"));
        let with_session = pb::TelemetryFrame { session_id: "sess-a1".to_owned(), ..frame() };
        let tiny = pb::TelemetryFrame { seq: 1, ..Default::default() };
        let session_only = pb::TelemetryFrame { session_id: "sess-a1".to_owned(), ..Default::default() };
        let agent_only = pb::TelemetryFrame { agent_id: "ab".to_owned(), ..Default::default() };
        let cases = [
            ("agent v0.1.0", bare(&frame()), legacy),
            ("a bare frame with its session", bare(&with_session), legacy),
            ("a bare frame with nothing but a number", bare(&tiny), legacy),
            ("a frame in an envelope", in_envelope(&frame()), envelope),
            ("the smallest frame in an envelope", in_envelope(&tiny), envelope),
            ("an answer to a command", ack, envelope),
            ("an envelope newer than the relay", newer, envelope),
            ("a bare frame with only a session", bare(&session_only), None),
            ("a bare frame with only an agent", bare(&agent_only), None),
            ("nothing", RawMessage::default(), None),
            ("an empty frame in an envelope", in_envelope(&Default::default()), None),
        ];
        for (what, message, expected) in cases {
            for else_as in [StreamShape::Legacy, StreamShape::Envelope] {
                assert_eq!(shape_of(&message, else_as).unwrap(), expected.unwrap_or(else_as), "{what}");
            }
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\x0a\x05ab",
            b"\x0a\xff\xff\xff\xff\x7fx",
            b"\x0b",
        ] {
            let raw = RawMessage(Bytes::from_static(bytes));
            assert!(shape_of(&raw, StreamShape::Legacy).is_err(), "{bytes:?}");
            assert!(StreamShape::Legacy.read(&raw).is_err(), "{bytes:?}");
            assert!(StreamShape::Envelope.read(&raw).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_message_is_read_as_the_stream_began() {
        let raw = bare(&frame());
        let read = StreamShape::Legacy.read(&raw).unwrap();
        assert_eq!(read, FromAgent::Frame { frame: frame(), raw: raw.0.clone() });
        let read = StreamShape::Envelope.read(&in_envelope(&frame())).unwrap();
        assert_eq!(read, FromAgent::Frame { frame: frame(), raw: raw.0.clone() });
        let ack = wrapped(pb::agent_stream_message::Payload::OperationContextCommandAck(command_ack()));
        assert_eq!(StreamShape::Envelope.read(&ack).unwrap(), FromAgent::CommandAck(command_ack().into()));
        let other = [
            (StreamShape::Legacy, in_envelope(&frame())),
            (StreamShape::Legacy, ack),
            (StreamShape::Envelope, raw),
        ];
        for (shape, message) in other {
            let refused = shape.read(&message).unwrap_err();
            assert!(matches!(refused, GarbledMessage::OtherShape { .. }), "{shape:?}: {refused}");
        }
        let newer = RawMessage(Bytes::from_static(b"\x1a\x04\x0a\x02id"));
        assert_eq!(StreamShape::Envelope.read(&newer).unwrap(), FromAgent::Unknown);
    }

    #[test]
    fn acknowledgements_have_the_shape_of_the_stream() {
        let ack = pb::TelemetryAck { seq: 7, ..Default::default() };
        assert_eq!(pb::TelemetryAck::decode(StreamShape::Legacy.ack(ack.clone()).0).unwrap(), ack);
        let answered = pb::RelayStreamMessage::decode(StreamShape::Envelope.ack(ack.clone()).0).unwrap();
        assert_eq!(answered.payload, Some(Answered::TelemetryAck(ack)));
    }
}
