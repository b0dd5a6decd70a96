//! gRPC's framing: five bytes of flag and length before each message.

use bytes::{BufMut, Bytes, BytesMut};

const HEADER_BYTES: usize = 5;

/// A body that is not made of frames.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum FrameError {
    #[error("a message is compressed, but by nothing that was agreed on")]
    Compressed,
    #[error("a message has flag {0}; 0 and 1 are known")]
    Flag(u8),
    #[error("there is no message in the body")]
    Empty,
    #[error("the body ends inside a message")]
    Truncated,
    #[error("a message has more than the {0} bytes that are taken")]
    TooLarge(usize),
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

/// Reader of the messages in a body, as its pieces arrive.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    pending: Bytes,
}

impl FrameReader {
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

/// Scan of the frames of a request as its pieces pass by.
#[derive(Debug)]
pub(super) struct FrameScan {
    /// Whether messages may be compressed.
    compressed: bool,
    /// Whether there must be one.
    needed: bool,
    /// How large one may be as it is sent.
    bytes_max: usize,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// What has come of the message, and what has not, in bytes.
    message: usize,
    missing: usize,
}

impl FrameScan {
    pub(super) fn new(compressed: bool, needed: bool, bytes_max: usize) -> Self {
        Self {
            compressed,
            needed,
            bytes_max,
            header: [0; HEADER_BYTES],
            header_bytes: 0,
            message: 0,
            missing: 0,
        }
    }

    /// Reads on, and says how much there is of the largest message it saw in this piece, in bytes.
    pub(super) fn push(&mut self, mut data: &[u8]) -> Result<usize, FrameError> {
        let mut largest = 0;
        while !data.is_empty() {
            if self.missing == 0 && self.header_bytes == HEADER_BYTES {
                self.header_bytes = 0;
            }
            if self.header_bytes < HEADER_BYTES {
                let (begun, rest) = data.split_at(data.len().min(HEADER_BYTES - self.header_bytes));
                for (slot, byte) in self.header.iter_mut().skip(self.header_bytes).zip(begun) {
                    *slot = *byte;
                }
                self.header_bytes += begun.len();
                self.begin()?;
                data = rest;
                continue;
            }
            let (of_message, rest) = data.split_at(data.len().min(self.missing));
            self.message += of_message.len();
            self.missing -= of_message.len();
            largest = largest.max(self.message);
            data = rest;
        }
        Ok(largest)
    }

    /// Size in bytes of what is there of a message that is not whole yet.
    pub(super) fn begun(&self) -> usize {
        if self.missing > 0 { self.message } else { 0 }
    }

    /// Reads what there is of a header.
    fn begin(&mut self) -> Result<(), FrameError> {
        let [flag, length @ ..] = self.header;
        match flag {
            0 => {}
            1 if self.compressed => {}
            1 => return Err(FrameError::Compressed),
            other => return Err(FrameError::Flag(other)),
        }
        if self.header_bytes == HEADER_BYTES {
            self.needed = false;
            self.message = 0;
            self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if self.missing > self.bytes_max {
                return Err(FrameError::TooLarge(self.bytes_max));
            }
        }
        Ok(())
    }

    /// Says whether the body ended where a message did.
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        match self.header_bytes {
            0 if self.needed => Err(FrameError::Empty),
            0 => Ok(()),
            HEADER_BYTES if self.missing == 0 => Ok(()),
            _ => Err(FrameError::Truncated),
        }
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
            let mut frames = FrameReader::default();
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
    fn a_scan_sees_the_same_at_any_split() {
        let message = encode(&[7; 300]);
        let cases = [
            // what, body, compression agreed, a message needed, what is wrong
            ("one", message.to_vec(), false, true, Ok(())),
            ("an empty one", encode(b"").to_vec(), false, true, Ok(())),
            ("two", [&message[..], &message[..]].concat(), false, true, Ok(())),
            ("none", vec![], false, true, Err(FrameError::Empty)),
            ("none needed", vec![], false, false, Ok(())),
            ("half a header", message[..3].to_vec(), false, true, Err(FrameError::Truncated)),
            ("half a message", message[..100].to_vec(), false, true, Err(FrameError::Truncated)),
            ("a byte behind", [&message[..], &[0]].concat(), false, true, Err(FrameError::Truncated)),
            ("compressed", vec![1, 0, 0, 0, 0], true, true, Ok(())),
            ("compressed unasked", vec![1, 0, 0, 0, 0], false, true, Err(FrameError::Compressed)),
            ("another flag", vec![2], true, true, Err(FrameError::Flag(2))),
            ("as large as may be", encode(&[7; 300]).to_vec(), false, true, Ok(())),
            ("too large", encode(&[7; 301])[..5].to_vec(), false, true, Err(FrameError::TooLarge(300))),
        ];
        for (what, body, compressed, needed, expected) in cases {
            for size in 1..=body.len().max(1) {
                let mut scan = FrameScan::new(compressed, needed, 300);
                let pushed: Result<Vec<_>, _> = body.chunks(size).map(|piece| scan.push(piece)).collect();
                let largest = pushed.as_ref().map_or(0, |sizes| sizes.iter().copied().max().unwrap_or(0));
                assert_eq!(pushed.and_then(|_| scan.finish()), expected, "{what}, pieces of {size}");
                assert!(largest == 0 || largest == 300 || expected.is_err(), "{what}: {largest}");
            }
        }
    }

    #[test]
    fn half_a_message_is_no_end() {
        let mut frames = FrameReader::default();
        frames.push(encode(b"abc").slice(..6));
        assert_eq!(frames.next(), Ok(None));
        assert_eq!(frames.finish(), Err(FrameError::Truncated));
        let mut frames = FrameReader::default();
        frames.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(frames.next(), Err(FrameError::Compressed));
    }
}
