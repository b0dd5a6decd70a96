//! Frames of HTTP/3 while their bytes come in: how long they are is looked at before any of it is kept.
//!
//! The library for HTTP/3 keeps each frame but those of data until all of it is there, however long it says to be, and has
//! the other side send on meanwhile. So what it keeps is bounded here, for each frame and over all streams of a connection,
//! and what it would throw away in the end is thrown away as it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf as _, Bytes};

/// How much of frames that are not whole yet is kept of one connection, in bytes, over all its streams.
pub const UNDECODED_BYTES_MAX: usize = 256 * 1024;
/// How long a frame may be that is neither of data nor a head, in bytes: settings are a few numbers, the others one.
pub const CONTROL_FRAME_BYTES_MAX: u64 = 4 * 1024;

/// Error of the other side, which has sent more than is kept (RFC 9114, 8.1: H3_EXCESSIVE_LOAD).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExcessiveLoad {
    #[error("a frame of {bytes} bytes, and {bytes_max} are the most of its kind")]
    Frame { bytes: u64, bytes_max: u64 },
    #[error("more than {UNDECODED_BYTES_MAX} bytes of frames that are not whole")]
    Undecoded,
}

/// Bytes of frames that are not whole yet, which the streams of one connection have together.
#[derive(Clone, Debug, Default)]
pub(super) struct UndecodedBytes(Arc<AtomicUsize>);

/// State of a stream: what is expected next, as far as it has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    /// Of which type a stream of one direction is.
    StreamType,
    /// Which push a stream is.
    PushId,
    /// The type and the length of a frame.
    Frame,
    Payload {
        left: u64,
        fate: PayloadFate,
    },
    /// What nobody reads: instructions for a table of headers that is empty for ever.
    Nothing,
    /// What the library has nothing to decode of.
    Anything,
}

/// Fate of the payload of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PayloadFate {
    /// It is passed on as it comes.
    Passed,
    /// It is passed on, and kept until it is whole.
    Kept,
    Dropped,
}

/// The frames of one stream.
#[derive(Debug)]
pub(super) struct StreamFrames {
    expects: StreamState,
    /// The beginning of what stands before a frame.
    begun: Vec<u8>,
    head_bytes_max: u64,
    /// Of the frame that is coming in.
    kept: usize,
    undecoded: UndecodedBytes,
}

impl StreamFrames {
    /// Those of a stream of both directions. `head_bytes_max` is how long the frame of a head may be.
    pub(super) fn of_call(head_bytes_max: u64, undecoded: UndecodedBytes) -> Self {
        Self { expects: StreamState::Frame, begun: Vec::new(), head_bytes_max, kept: 0, undecoded }
    }

    /// Those of a stream of one direction, which says first what it is for.
    pub(super) fn one_way(head_bytes_max: u64, undecoded: UndecodedBytes) -> Self {
        let mut frames = Self::of_call(head_bytes_max, undecoded);
        frames.expects = StreamState::StreamType;
        frames
    }

    /// Whether what else comes is of no use to anybody.
    pub(super) fn are_over(&self) -> bool {
        self.expects == StreamState::Nothing
    }

    /// Takes from `came` what can be told by now, and answers what of it is passed on; `None`: nothing of all.
    ///
    /// # Errors
    /// When more would have to be kept than is.
    pub(super) fn pass(&mut self, came: &mut Bytes) -> Result<Option<Bytes>, ExcessiveLoad> {
        while !came.is_empty() {
            let (piece, fate) = match self.expects {
                StreamState::Nothing => (came.split_to(came.len()), PayloadFate::Dropped),
                StreamState::Anything => (came.split_to(came.len()), PayloadFate::Passed),
                StreamState::Payload { left, fate } => (self.payload(came, left, fate)?, fate),
                StreamState::Frame if self.begun.is_empty() => self.frame(came)?,
                StreamState::StreamType | StreamState::PushId | StreamState::Frame => self.byte(came)?,
            };
            if fate != PayloadFate::Dropped && !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// Rest of a frame that has begun when the stream ends: whoever decodes it finds that it is not whole.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        let begun = std::mem::take(&mut self.begun);
        (!begun.is_empty()).then(|| begun.into())
    }

    /// A frame with as much of it as has come, in one piece, as most come.
    fn frame(&mut self, came: &mut Bytes) -> Result<(Bytes, PayloadFate), ExcessiveLoad> {
        let Some((kind, bytes, before)) = frame_head(came) else { return self.byte(came) };
        let mut whole = came.clone();
        came.advance(before);
        let fate = self.fate_of(kind, bytes)?;
        let payload = self.payload(came, bytes, fate)?;
        Ok((whole.split_to(before + payload.len()), fate))
    }

    /// A byte of what stands before a frame or a stream; with the last one, all of that.
    fn byte(&mut self, came: &mut Bytes) -> Result<(Bytes, PayloadFate), ExcessiveLoad> {
        self.begun.push(came.get_u8());
        let (next, fate) = match self.expects {
            StreamState::StreamType => match number(&self.begun) {
                Some((CONTROL, _)) => (StreamState::Frame, PayloadFate::Passed),
                Some((PUSH, _)) => (StreamState::PushId, PayloadFate::Passed),
                Some((ENCODER | DECODER, _)) => (StreamState::Nothing, PayloadFate::Passed),
                Some(_) => (StreamState::Anything, PayloadFate::Passed),
                None => return Ok((Bytes::new(), PayloadFate::Dropped)),
            },
            StreamState::PushId if number(&self.begun).is_some() => (StreamState::Frame, PayloadFate::Passed),
            StreamState::Frame => match frame_head(&self.begun) {
                Some((kind, bytes, _)) => {
                    let fate = self.fate_of(kind, bytes)?;
                    (StreamState::Payload { left: bytes, fate }, fate)
                }
                None => return Ok((Bytes::new(), PayloadFate::Dropped)),
            },
            StreamState::PushId
            | StreamState::Payload { .. }
            | StreamState::Nothing
            | StreamState::Anything => {
                return Ok((Bytes::new(), PayloadFate::Dropped));
            }
        };
        self.expects =
            if matches!(next, StreamState::Payload { left: 0, .. }) { StreamState::Frame } else { next };
        Ok((std::mem::take(&mut self.begun).into(), fate))
    }

    /// As much of the payload of a frame as has come.
    fn payload(&mut self, came: &mut Bytes, left: u64, fate: PayloadFate) -> Result<Bytes, ExcessiveLoad> {
        let piece = came.split_to(came.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        let left = left.saturating_sub(piece.len() as u64);
        self.expects = if left == 0 { StreamState::Frame } else { StreamState::Payload { left, fate } };
        match fate {
            PayloadFate::Kept if left == 0 => self.release(),
            PayloadFate::Kept => self.keep(piece.len())?,
            PayloadFate::Passed | PayloadFate::Dropped => {}
        }
        Ok(piece)
    }

    fn fate_of(&self, kind: u64, bytes: u64) -> Result<PayloadFate, ExcessiveLoad> {
        let bytes_max = match kind {
            DATA => return Ok(PayloadFate::Passed),
            HEADERS | PUSH_PROMISE => self.head_bytes_max,
            PRIORITY | CANCEL_PUSH | SETTINGS | PING | GOAWAY | WINDOW_UPDATE | CONTINUATION
            | MAX_PUSH_ID => CONTROL_FRAME_BYTES_MAX,
            _ => return Ok(PayloadFate::Dropped),
        };
        if bytes > bytes_max { Err(ExcessiveLoad::Frame { bytes, bytes_max }) } else { Ok(PayloadFate::Kept) }
    }

    fn keep(&mut self, bytes: usize) -> Result<(), ExcessiveLoad> {
        self.kept += bytes;
        let before = self.undecoded.0.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > UNDECODED_BYTES_MAX { Err(ExcessiveLoad::Undecoded) } else { Ok(()) }
    }

    fn release(&mut self) {
        self.undecoded.0.fetch_sub(std::mem::take(&mut self.kept), Ordering::Relaxed);
    }
}

impl Drop for StreamFrames {
    fn drop(&mut self) {
        self.release();
    }
}

// Streams of one direction (RFC 9114, 6.2; RFC 9204, 4.2).
const CONTROL: u64 = 0;
const PUSH: u64 = 1;
const ENCODER: u64 = 2;
const DECODER: u64 = 3;

// Frames (RFC 9114, 7.2), and those of HTTP/2 that must not be sent.
const DATA: u64 = 0;
const HEADERS: u64 = 1;
const PRIORITY: u64 = 2;
const CANCEL_PUSH: u64 = 3;
const SETTINGS: u64 = 4;
const PUSH_PROMISE: u64 = 5;
const PING: u64 = 6;
const GOAWAY: u64 = 7;
const WINDOW_UPDATE: u64 = 8;
const CONTINUATION: u64 = 9;
const MAX_PUSH_ID: u64 = 0xd;

/// The type of a frame, how long it is, and how many bytes say so; `None`: there are too few.
fn frame_head(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (kind, first) = number(bytes)?;
    let (length, second) = number(bytes.get(first..)?)?;
    Some((kind, length, first + second))
}

/// A number of variable length (RFC 9000, 16), and of how many bytes it is; `None`: there are too few.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let size = 1 << (bytes.first()? >> 6);
    let number = bytes.get(..size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    // The first two bits are those of the size.
    Some((number & (u64::MAX >> (64 - (8 * size as u32 - 2))), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_BYTES_MAX: u64 = 1000;

    fn call(undecoded: &UndecodedBytes) -> StreamFrames {
        StreamFrames::of_call(HEAD_BYTES_MAX, undecoded.clone())
    }

    /// What is passed on of bytes that come in pieces of this size.
    fn passed(frames: &mut StreamFrames, bytes: &[u8], pieces: usize) -> Result<Vec<u8>, ExcessiveLoad> {
        let mut passed = Vec::new();
        for piece in bytes.chunks(pieces) {
            let mut came = Bytes::copy_from_slice(piece);
            while let Some(piece) = frames.pass(&mut came)? {
                passed.extend_from_slice(&piece);
            }
            assert!(came.is_empty());
        }
        passed.extend(frames.rest().unwrap_or_default());
        Ok(passed)
    }

    /// A number of 8 bytes.
    fn long(number: u64) -> [u8; 8] {
        (number | 3 << 62).to_be_bytes()
    }

    fn framed(kind: u64, payload: &[u8]) -> Vec<u8> {
        [&long(kind)[..], &long(payload.len() as u64), payload].concat()
    }

    #[test]
    fn what_is_known_is_passed_on_as_it_came_and_the_rest_is_dropped() {
        let head = framed(HEADERS, &[7; 20]);
        let data = [&[0, 3][..], b"abc"].concat();
        let unknown = framed(0x21, &[1; 5000]);
        let empty = [0x40, 0x21, 0];
        let sent = [&unknown[..], &head, &empty, &data, &unknown, &data, &[0, 0], &head].concat();
        let expected = [&head[..], &data, &data, &[0, 0], &head].concat();
        for pieces in [1, 2, 3, 7, 16, 21, 64, 1200, sent.len()] {
            let undecoded = UndecodedBytes::default();
            let got = passed(&mut call(&undecoded), &sent, pieces);
            assert_eq!(got.as_deref(), Ok(&expected[..]), "in pieces of {pieces}");
            assert_eq!(undecoded.0.load(Ordering::Relaxed), 0, "nothing is counted that is whole");
        }
        // What ends in the middle does so for whoever decodes it.
        let cut = &head[..head.len() - 1];
        assert_eq!(passed(&mut call(&UndecodedBytes::default()), cut, 5).as_deref(), Ok(cut));
        assert_eq!(passed(&mut call(&UndecodedBytes::default()), &head[..9], 2).as_deref(), Ok(&head[..9]));
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_by_its_length() {
        let cases = [
            ("a head", HEADERS, HEAD_BYTES_MAX),
            ("a promise", PUSH_PROMISE, HEAD_BYTES_MAX),
            ("settings", SETTINGS, CONTROL_FRAME_BYTES_MAX),
            ("a farewell", GOAWAY, CONTROL_FRAME_BYTES_MAX),
            ("a push that is cancelled", CANCEL_PUSH, CONTROL_FRAME_BYTES_MAX),
            ("the most pushes", MAX_PUSH_ID, CONTROL_FRAME_BYTES_MAX),
            ("one of HTTP/2", CONTINUATION, CONTROL_FRAME_BYTES_MAX),
        ];
        for ((what, kind, bytes_max), pieces) in cases.into_iter().flat_map(|case| [(case, 1), (case, 64)]) {
            let head = |bytes: u64| [long(kind), long(bytes)].concat();
            let refused = |bytes| Err(ExcessiveLoad::Frame { bytes, bytes_max });
            for bytes in [bytes_max + 1, 1 << 40, (1 << 62) - 1] {
                let mut frames = call(&UndecodedBytes::default());
                assert_eq!(passed(&mut frames, &head(bytes), pieces), refused(bytes), "{what}");
                let mut control = StreamFrames::one_way(HEAD_BYTES_MAX, UndecodedBytes::default());
                let opened = [&[0][..], &head(bytes)].concat();
                assert_eq!(
                    passed(&mut control, &opened, pieces),
                    refused(bytes),
                    "{what}, on a control stream"
                );
            }
            let whole = framed(kind, &vec![0; usize::try_from(bytes_max).unwrap()]);
            assert!(
                passed(&mut call(&UndecodedBytes::default()), &whole, 100).is_ok(),
                "{what}, as long as may be"
            );
        }
    }

    #[test]
    fn all_streams_of_a_connection_keep_little_together() {
        let undecoded = UndecodedBytes::default();
        let begun = framed(HEADERS, &[0; 1000])[..16 + 999].to_vec();
        let mut streams = Vec::new();
        let refused = (0..1000).find_map(|_| {
            let mut frames = call(&undecoded);
            let passed = passed(&mut frames, &begun, 1200);
            streams.push(frames);
            passed.err()
        });
        assert_eq!(refused, Some(ExcessiveLoad::Undecoded));
        assert_eq!(streams.len(), UNDECODED_BYTES_MAX / 999 + 1);
        // Of streams that are gone nothing is kept.
        drop(streams);
        assert!(passed(&mut call(&undecoded), &begun, 1200).is_ok());
        assert_eq!(undecoded.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn streams_of_one_direction_are_told_apart() {
        let settings = framed(SETTINGS, &[]);
        let cases: [(&str, &[u8], &[u8], bool); 5] = [
            ("control", &[0], &settings, false),
            ("a push", &[1, 0x40, 9], &settings, false),
            ("an encoder", &[2], &[], true),
            ("a decoder", &[0x40, 3], &[], true),
            ("something else", &[0x21], &settings, false),
        ];
        for (what, begin, then, over) in cases {
            for pieces in [1, 2, 64] {
                let mut frames = StreamFrames::one_way(HEAD_BYTES_MAX, UndecodedBytes::default());
                let sent = [begin, &settings].concat();
                let got = passed(&mut frames, &sent, pieces);
                assert_eq!((got, frames.are_over()), (Ok([begin, then].concat()), over), "{what}");
            }
        }
    }
}
