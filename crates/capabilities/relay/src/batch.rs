//! Frames on their way from a stream to the sinks.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_wire::pb::aeroarc::agent::v1::TelemetryFrame;

/// What a decoded frame holds in memory beside its bytes, about; its fields not counted.
const FRAME_HELD_BYTES: usize = 300;
/// What one of its fields holds beside its bytes, about: two texts and their place in a map.
const FIELD_HELD_BYTES: usize = 100;

/// One frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    pub message: TelemetryFrame,
    /// The bytes it was decoded from: those of the bare frame, whatever it was wrapped in.
    pub raw: Bytes,
}

impl Frame {
    /// Bytes of memory that the frame takes, about: a field of seven bytes on the wire takes a hundred once decoded.
    pub fn held_bytes(&self) -> usize {
        self.raw.len() + FRAME_HELD_BYTES + self.message.fields.len() * FIELD_HELD_BYTES
    }
}

/// Frames of one agent that came together; sinks take all of them or none.
#[derive(Debug)]
pub struct FrameBatch {
    pub agent_id: Arc<str>,
    /// When they came, by the wall clock.
    pub received_unix_ns: i64,
    /// At least one.
    pub frames: Vec<Frame>,
}

impl FrameBatch {
    /// Bytes that the frames of the batch hold.
    pub fn frame_bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.raw.len()).sum()
    }

    /// Bytes of memory that the batch takes, about.
    pub fn held_bytes(&self) -> usize {
        self.frames.iter().map(Frame::held_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(fields: usize) -> Frame {
        let fields = (0..fields).map(|at| (format!("{at:x}"), String::new()));
        let message = TelemetryFrame { fields: fields.collect(), ..TelemetryFrame::default() };
        Frame { raw: prost::Message::encode_to_vec(&message).into(), message }
    }

    #[test]
    fn what_a_decoded_frame_holds_is_counted() {
        let small = frame(1);
        assert!(small.raw.len() < 10, "{}", small.raw.len());
        let many = frame(10_000);
        assert!(many.held_bytes() >= many.raw.len() + 10_000 * 100, "its fields take more than its bytes");
        let held = small.held_bytes() + many.held_bytes();
        let raw = small.raw.len() + many.raw.len();
        let batch = FrameBatch { agent_id: "a".into(), received_unix_ns: 0, frames: vec![small, many] };
        assert_eq!((batch.held_bytes(), batch.frame_bytes()), (held, raw));
    }
}
