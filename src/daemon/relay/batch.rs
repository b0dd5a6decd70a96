//! Frames on their way from a stream to the sinks.

use std::sync::Arc;

use bytes::Bytes;

use crate::wire::pb::aeroarc::agent::v1::TelemetryFrame;

/// One frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    pub message: TelemetryFrame,
    /// The bytes it was decoded from: those of the bare frame, whatever it was wrapped in.
    pub raw: Bytes,
}

/// Frames of one agent that came together; sinks take all of them or none.
#[derive(Debug)]
pub struct Batch {
    pub agent_id: Arc<str>,
    /// When they came, by the wall clock.
    pub received_unix_ns: i64,
    /// At least one.
    pub frames: Vec<Frame>,
}

impl Batch {
    /// How many bytes its frames hold.
    pub fn frame_bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.raw.len()).sum()
    }
}
