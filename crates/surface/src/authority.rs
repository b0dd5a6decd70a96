//! The authority of HTTP/2 requests at a unix socket, where many clients name the path of the socket.
//!
//! gRPC core (Python, C++, Ruby, PHP) and grpc-java send `%2Frun%2Fcontrol.sock` as `:authority`, older clients the path as it
//! is. No URI has such an authority, and whoever reads the frames resets the stream before anybody is asked. So each `%` and `/`
//! of it is written over as the frames come, by a `-`: that takes as many bits, as it stands and as HPACK codes it, so that all
//! lengths, and the table of headers that both ends keep, stay what they are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::writes_through::writes_through;

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 8 * 1024;
/// What every HTTP/2 connection begins with, in bytes.
const PREFACE_BYTES: usize = 24;
/// The head of a frame, in bytes.
const HEAD_BYTES: usize = 9;
/// Longer frames are refused by whoever reads them: no client is told that it may send them.
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// The type of frames that begin a request.
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The number of `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
/// Its name, as gRPC core spells it out, and as HPACK codes it.
const NAMES: [&[u8]; 2] = [b":authority", b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f"];

/// A connection whose requests have authorities that can be read.
pub(super) struct SocketAuthority<S> {
    stream: S,
    /// What was read and not given on.
    held: Vec<u8>,
    /// How much of that may be given on.
    cleared: usize,
    /// How much more may be, whatever it is.
    passes: usize,
}

impl<S> SocketAuthority<S> {
    /// Of a connection that begins.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, held: Vec::new(), cleared: 0, passes: PREFACE_BYTES }
    }

    /// Lets what was read pass, but for the beginning of a frame that has to be seen whole.
    fn clear(&mut self) {
        loop {
            let passing = self.passes.min(self.held.len() - self.cleared);
            self.cleared += passing;
            self.passes -= passing;
            let Some(rest) = self.held.get_mut(self.cleared..).filter(|rest| rest.len() >= HEAD_BYTES) else {
                return;
            };
            let bytes = HEAD_BYTES
                + usize::from(rest[0]) * 0x1_0000
                + usize::from(rest[1]) * 0x100
                + usize::from(rest[2]);
            let (kind, flags) = (rest[3], rest[4]);
            if kind == HEADERS && bytes <= HEAD_BYTES + FRAME_BYTES_MAX {
                let Some(frame) = rest.get_mut(HEAD_BYTES..bytes) else { return };
                // Of a block that goes on in other frames the authority is in the first: it comes before the headers.
                if let Some(block) = block(flags, frame) {
                    let _ = rename(block);
                }
            }
            self.passes = bytes;
        }
    }
}

/// The headers in a frame; `None`: it is not as it should be.
fn block(flags: u8, frame: &mut [u8]) -> Option<&mut [u8]> {
    let (begin, end) = match flags & PADDED != 0 {
        true => (1, frame.len().checked_sub(usize::from(*frame.first()?))?),
        false => (0, frame.len()),
    };
    let begin = if flags & PRIORITY != 0 { begin + 5 } else { begin };
    frame.get_mut(begin..end)
}

/// Writes over the authority in a block of headers; `None`: the rest is not as it should be.
fn rename(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while let Some(first) = block.get(at).copied() {
        let prefix = match first {
            // A header of the table, and how large that is.
            0x80.. => {
                at = integer(block, at, 7)?.1;
                continue;
            }
            0x20..=0x3f => {
                at = integer(block, at, 5)?.1;
                continue;
            }
            0x40.. => 6,
            _ => 4,
        };
        let (mut name, next) = integer(block, at, prefix)?;
        at = next;
        if name == 0 {
            let (_, spelled) = text(block, at)?;
            at = spelled.end;
            name = if NAMES.contains(&block.get(spelled)?) { AUTHORITY } else { 0 };
        }
        let (is_coded, value) = text(block, at)?;
        at = value.end;
        let value = block.get_mut(value)?;
        match (name, is_coded) {
            (AUTHORITY, true) => rename_coded(value),
            (AUTHORITY, false) => {
                value.iter_mut().filter(|byte| matches!(byte, b'%' | b'/')).for_each(|byte| *byte = b'-');
            }
            _ => {}
        }
    }
    Some(())
}

/// A number of HPACK (RFC 7541, 5.1), and where it ends.
fn integer(block: &[u8], at: usize, prefix: u32) -> Option<(usize, usize)> {
    let full = (1 << prefix) - 1;
    let first = usize::from(*block.get(at)?) & full;
    if first < full {
        return Some((first, at + 1));
    }
    let mut number = full;
    // Of more bytes none is meant.
    for (place, byte) in block.get(at + 1..)?.iter().take(3).enumerate() {
        number += usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, at + 2 + place));
        }
    }
    None
}

/// A string of HPACK (5.2): whether it is coded, and where it is.
fn text(block: &[u8], at: usize) -> Option<(bool, std::ops::Range<usize>)> {
    let (length, begin) = integer(block, at, 7)?;
    Some((block.get(at)? & 0x80 != 0, begin..begin.checked_add(length).filter(|end| *end <= block.len())?))
}

/// How many symbols HPACK has of each length in bits: of one length their codes follow each other, and those of the next begin
/// where they end (RFC 7541, appendix B).
const CODES: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];
/// The codes of `%` and `/`, and that of `-`, all of six bits.
const PERCENT: u32 = 0b01_0101;
const SLASH: u32 = 0b01_1000;
const DASH: u32 = 0b01_0110;

/// Writes over a string that is coded.
fn rename_coded(value: &mut [u8]) {
    let (mut at, bits) = (0, value.len() * 8);
    while let Some(length) = symbol(ahead(value, at)).filter(|length| at + length <= bits) {
        let code = ahead(value, at) >> 26;
        if length == 6 && matches!(code, PERCENT | SLASH) {
            for bit in 0..6 {
                let (byte, mask) = ((at + bit) / 8, 0x80 >> ((at + bit) % 8));
                let is_set = DASH >> (5 - bit) & 1 == 1;
                if let Some(byte) = value.get_mut(byte) {
                    *byte = if is_set { *byte | mask } else { *byte & !mask };
                }
            }
        }
        at += length;
    }
}

/// The 32 bits from one on; ones behind the end, as HPACK fills it.
fn ahead(value: &[u8], at: usize) -> u32 {
    let byte = |place: usize| u64::from(value.get(at / 8 + place).copied().unwrap_or(0xff));
    let five = (0..5).fold(0, |bits, place| bits << 8 | byte(place));
    u32::try_from(five >> (8 - at % 8) & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// How long the symbol is that these bits begin with.
fn symbol(ahead: u32) -> Option<usize> {
    let (mut first, mut length) = (0, 0);
    for (bits, count) in CODES {
        first <<= bits - length;
        length = bits;
        if (ahead >> (32 - bits)) - first < count {
            return usize::try_from(bits).ok();
        }
        first += count;
    }
    None
}

impl<S: AsyncRead + Unpin> AsyncRead for SocketAuthority<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.cleared == 0 {
            let held = this.held.len();
            this.held.resize(held + READ_BYTES, 0);
            let mut buffer = ReadBuf::new(this.held.get_mut(held..).unwrap_or_default());
            let polled = Pin::new(&mut this.stream).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            this.held.truncate(held + read);
            ready!(polled)?;
            if read > 0 {
                this.clear();
            } else if this.held.is_empty() {
                return Poll::Ready(Ok(()));
            } else {
                // It was cut off within a frame.
                this.cleared = this.held.len();
            }
        }
        let giving = this.cleared.min(into.remaining());
        into.put_slice(this.held.get(..giving).unwrap_or_default());
        this.held.drain(..giving);
        this.cleared -= giving;
        Poll::Ready(Ok(()))
    }
}

writes_through!(SocketAuthority);

#[cfg(test)]
#[path = "authority_test.rs"]
mod tests;
