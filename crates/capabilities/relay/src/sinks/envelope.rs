//! Frames as lines of JSON, as all sinks write them.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;

use crate::batch::{Frame, FrameBatch};

/// What a line holds beside the frame's own bytes, about.
const LINE_BYTES: usize = 256;

/// Batch for the sinks, and its lines once a sink has asked for them.
pub(super) struct SinkBatch {
    pub batch: Arc<FrameBatch>,
    /// Of its frames together.
    pub bytes: usize,
    /// What it takes of memory, about.
    pub held_bytes: usize,
    lines: OnceLock<BatchLines>,
}

/// Lines of a batch: one for each frame, each with its line break.
pub(super) struct BatchLines {
    pub text: Vec<u8>,
    ends: Vec<usize>,
}

impl SinkBatch {
    pub(super) fn new(batch: Arc<FrameBatch>) -> Self {
        let (bytes, held_bytes) = (batch.frame_bytes(), batch.held_bytes());
        Self { batch, bytes, held_bytes, lines: OnceLock::new() }
    }

    /// Its first frame alone.
    pub(super) fn first(&self) -> Self {
        let FrameBatch { agent_id, received_unix_ns, frames } = &*self.batch;
        let frames = frames.iter().take(1).cloned().collect();
        Self::new(Arc::new(FrameBatch {
            agent_id: agent_id.clone(),
            received_unix_ns: *received_unix_ns,
            frames,
        }))
    }

    pub(super) fn frames(&self) -> usize {
        self.batch.frames.len()
    }

    /// Its lines; made once for all sinks.
    pub(super) fn lines(&self) -> &BatchLines {
        self.lines.get_or_init(|| BatchLines::of(&self.batch))
    }
}

impl BatchLines {
    fn of(batch: &FrameBatch) -> Self {
        let begin = beginning(batch);
        let room: usize =
            batch.frames.iter().map(|frame| frame.raw.len() * 3 + begin.len() + LINE_BYTES).sum();
        let mut text = Vec::with_capacity(room);
        let mut ends = Vec::with_capacity(batch.frames.len());
        for frame in &batch.frames {
            text.extend_from_slice(&begin);
            write_frame(&mut text, frame);
            ends.push(text.len());
        }
        Self { text, ends }
    }

    /// The lines one by one, without their line breaks.
    pub(super) fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.with_breaks().map(|line| &line[..line.len() - 1])
    }

    /// The lines one by one, each with its line break.
    pub(super) fn with_breaks(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.text[begin..*end])
    }
}

/// What the lines of a batch have in common.
fn beginning(batch: &FrameBatch) -> Vec<u8> {
    let mut begin = Vec::with_capacity(LINE_BYTES);
    begin.extend_from_slice(b"{\"agent_id\":");
    put(&mut begin, &*batch.agent_id);
    begin.extend_from_slice(b",\"source\":\"\",\"timestamp_relay\":\"");
    let mut at = String::new();
    // A `String` takes whatever is written to it.
    let _ = write!(
        at,
        "{}",
        DateTime::from_timestamp_nanos(batch.received_unix_ns).format("%Y-%m-%dT%H:%M:%S%.9fZ")
    );
    begin.extend_from_slice(at.as_bytes());
    begin.extend_from_slice(b"\",\"timestamp_device\":");
    begin
}

fn write_frame(out: &mut Vec<u8>, frame: &Frame) {
    let message = &frame.message;
    let device = message.device_timestamp_sec;
    // JSON has no other numbers.
    put(out, &if device.is_finite() { device } else { 0.0 });
    out.extend_from_slice(b",\"msg_id\":");
    put(out, &message.msg_id);
    out.extend_from_slice(b",\"msg_name\":");
    put(out, &message.msg_name);
    out.extend_from_slice(b",\"system_id\":0,\"component_id\":0,\"sequence\":");
    put(out, &message.seq);
    out.extend_from_slice(b",\"fields\":{");
    for (at, (name, value)) in message.fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(out, name);
        out.push(b':');
        put(out, value);
    }
    out.extend_from_slice(b"},\"raw\":\"");
    put_base64(out, &frame.raw);
    out.extend_from_slice(b"\"}\n");
}

fn put(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    // A `Vec` takes whatever is written to it, and texts and finite numbers can be written.
    let _ = serde_json::to_writer(out, value);
}

fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    // The room is what the text needs.
    let written = STANDARD.encode_slice(bytes, &mut out[begin..]).unwrap_or_default();
    out.truncate(begin + written);
}
