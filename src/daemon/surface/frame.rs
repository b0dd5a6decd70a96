//! gRPC's framing: five bytes of flag and length before each message.

use bytes::{BufMut, Bytes, BytesMut};

const HEADER_BYTES: usize = 5;

/// A body that is not made of frames.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum FrameError {
    #[error("a message is compressed although nothing asked for it")]
    Compressed,
    #[error("the body ends inside a message")]
    Truncated,
}

/// Puts a message into a frame.
pub(super) fn encode(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + message.len());
    frame.put_u8(0);
    // Requests are bounded far below 4 GiB by the limits of their bodies.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// Takes messages out of a body as its pieces arrive.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pending: Bytes,
}

impl Frames {
    pub(super) fn push(&mut self, data: Bytes) {
        if self.pending.is_empty() {
            self.pending = data;
            return;
        }
        let mut joined = BytesMut::with_capacity(self.pending.len() + data.len());
        joined.extend_from_slice(&self.pending);
        joined.extend_from_slice(&data);
        self.pending = joined.freeze();
    }

    /// The next whole message, if it is there.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some((header, rest)) = self.pending.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [flag, length @ ..] = *header;
        if flag != 0 {
            return Err(FrameError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if rest.len() < length {
            return Ok(None);
        }
        let mut frame = self.pending.split_to(HEADER_BYTES + length);
        Ok(Some(frame.split_off(HEADER_BYTES)))
    }

    /// Says whether the body ended where a message did.
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        if self.pending.is_empty() { Ok(()) } else { Err(FrameError::Truncated) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_split() {
        let mut body = Vec::new();
        for message in [&b"one"[..], b"", b"three"] {
            body.extend_from_slice(&encode(message));
        }
        for size in 1..=body.len() {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for piece in body.chunks(size) {
                frames.push(Bytes::copy_from_slice(piece));
                while let Some(message) = frames.next().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, [&b"one"[..], b"", b"three"], "pieces of {size}");
            assert_eq!(frames.finish(), Ok(()));
        }
    }

    #[test]
    fn half_a_message_is_no_end() {
        let mut frames = Frames::default();
        frames.push(encode(b"abc").slice(..6));
        assert_eq!(frames.next(), Ok(None));
        assert_eq!(frames.finish(), Err(FrameError::Truncated));
        let mut frames = Frames::default();
        frames.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(frames.next(), Err(FrameError::Compressed));
    }
}
