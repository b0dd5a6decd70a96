//! A segment of the write-ahead log: a file that is written from its beginning to its limit, lap after lap.
//!
//! ```text
//! magic 8 bytes | salt u64 | first batch u64 | zeros u32 | crc32 u32 | frames ...
//! ```
//!
//! A lap begins with a header that has a salt of its own. What it overwrites was in the store file before.

use std::io;
use std::ops::Range;

use redb::StorageBackend;

use super::super::overlay::Overlay;
use super::frame::{self, Frame, u32_at, u64_at};
use crate::chance::random_u64;

const MAGIC: &[u8; 8] = b"omniwal1";
const HEADER_BYTES: usize = 32;
/// A segment grows by so much at a time: what is appended then finds its blocks written, and its sync moves no metadata.
const GROWTH_BYTES: u64 = 1024 * 1024;
/// What it grows by, piece by piece: a large buffer that is freed makes the allocator keep others that are.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

#[derive(Debug)]
pub(super) struct Segment {
    file: Box<dyn StorageBackend>,
    /// `None`: nothing in it is needed, and the next append begins a lap.
    lap: Option<Lap>,
    /// How long the file is: all of it has been written to.
    written: u64,
}

/// Lap over a segment: its salt, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lap {
    salt: u64,
    /// Where its next frame begins.
    end: u64,
}

/// Content of a segment.
pub(super) struct SegmentContent {
    bytes: Vec<u8>,
    salt: u64,
    /// The batch of its first frame.
    pub first: u64,
    frames: Vec<Range<usize>>,
    /// The newest batch of a frame behind one that cannot be read.
    pub newest_behind: Option<u64>,
}

impl Segment {
    pub(super) fn over(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let written = file.len()?;
        Ok(Self { file, lap: None, written })
    }

    pub(super) fn is_free(&self) -> bool {
        self.lap.is_none()
    }

    /// Nothing in it is needed any more.
    pub(super) fn release(&mut self) {
        self.lap = None;
    }

    /// Reads what its lap holds; `None` if there is none.
    pub(super) fn content(&self) -> io::Result<Option<SegmentContent>> {
        let mut header = [0; HEADER_BYTES];
        if self.written < HEADER_BYTES as u64 {
            return Ok(None);
        }
        self.file.read(0, &mut header)?;
        if lap_of(&header).is_none() {
            return Ok(None);
        }
        let length = usize::try_from(self.written).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read(0, &mut bytes)?;
        Ok(SegmentContent::of(bytes))
    }

    /// Goes on behind the last frame of `content` up to the batch `through`. It and the header are written once more:
    /// nobody knows whether they were synced. What may stand behind it can then be taken for no frame.
    pub(super) fn resume(&mut self, content: &SegmentContent, through: u64) -> io::Result<()> {
        let Some(last) = content.frames().take_while(|(_, frame)| frame.batch <= through).last() else {
            return Ok(());
        };
        let (range, frame) = last;
        let mut bytes = frame.bytes.to_vec();
        bytes.resize(bytes.len() + frame::HEADER_BYTES, 0);
        self.file.write(0, content.header())?;
        self.file.write(range.start as u64, &bytes)?;
        self.file.sync_data()?;
        self.lap = Some(Lap { salt: content.salt, end: range.end as u64 });
        self.written = self.written.max(self.file.len()?);
        Ok(())
    }

    /// Leaves no lap in the file.
    pub(super) fn erase(&mut self) -> io::Result<()> {
        self.release();
        if self.written > 0 {
            self.file.write(0, &[0; HEADER_BYTES])?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Whether a frame of so many bytes fits below `limit`; one that is longer than a whole segment fits into an empty
    /// one. Takes the room from the disk.
    pub(super) fn reserve(&mut self, frame_bytes: usize, limit: u64) -> io::Result<bool> {
        let begin = self.lap.map_or(HEADER_BYTES as u64, |lap| lap.end);
        let end = begin + frame_bytes as u64;
        if end > limit && self.lap.is_some() {
            return Ok(false);
        }
        if self.lap.is_none() && self.written > limit.max(end).next_multiple_of(GROWTH_BYTES) {
            self.file.set_len(limit)?;
            self.written = limit;
        }
        if end > self.written {
            let to = end.max((self.written + GROWTH_BYTES).min(limit));
            for begin in (self.written..to).step_by(ZEROS.len()) {
                let length = usize::try_from(to - begin).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
                self.file.write(begin, ZEROS.get(..length).unwrap_or_default())?;
            }
            self.file.sync_data()?;
            self.written = to;
        }
        Ok(true)
    }

    /// Bytes below `limit` that can be appended where it has been written to before.
    pub(super) fn room(&self, limit: u64) -> u64 {
        let begin = self.lap.map_or(HEADER_BYTES as u64, |lap| lap.end);
        self.written.min(limit).saturating_sub(begin)
    }

    /// Appends the frame of a batch, without a sync.
    pub(super) fn append(&mut self, batch: u64, changes: &Overlay, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        let (lap, begin) = match self.lap {
            Some(lap) => (lap, lap.end),
            None => {
                let salt = random_u64()?;
                write_header(buffer, salt, batch);
                (Lap { salt, end: 0 }, 0)
            }
        };
        frame::write(buffer, lap.salt, batch, changes);
        self.file.write(begin, buffer)?;
        self.lap = Some(Lap { end: begin + buffer.len() as u64, ..lap });
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl SegmentContent {
    fn of(bytes: Vec<u8>) -> Option<Self> {
        let (salt, first) = lap_of(bytes.get(..HEADER_BYTES)?)?;
        let (mut frames, mut offset) = (Vec::new(), HEADER_BYTES);
        while let Some(frame) = frame::read(&bytes, offset, salt) {
            let end = offset + frame.bytes.len();
            frames.push(offset..end);
            offset = end;
        }
        let newest_behind = frame::newest_behind(&bytes, offset + 1, salt);
        Some(Self { salt, first, frames, newest_behind, bytes })
    }

    fn header(&self) -> &[u8] {
        self.bytes.get(..HEADER_BYTES).unwrap_or_default()
    }

    /// Its frames from the first to the last before one that cannot be read, with their places.
    pub(super) fn frames(&self) -> impl Iterator<Item = (&Range<usize>, Frame<'_>)> {
        let read = |range: &Range<usize>| frame::read(&self.bytes, range.start, self.salt);
        self.frames.iter().filter_map(move |range| Some((range, read(range)?)))
    }

    /// The newest batch that can be read in it.
    pub(super) fn newest(&self) -> Option<u64> {
        self.frames().map(|(_, frame)| frame.batch).last().max(self.newest_behind)
    }
}

/// The salt of the lap whose header this is, and its first batch.
fn lap_of(header: &[u8]) -> Option<(u64, u64)> {
    let is_sound = crc32fast::hash(header.get(..28)?) == u32_at(header, 28)?;
    if header.get(..8)? != MAGIC || !is_sound {
        return None;
    }
    Some((u64_at(header, 8)?, u64_at(header, 16)?))
}

fn write_header(to: &mut Vec<u8>, salt: u64, first: u64) {
    to.extend_from_slice(MAGIC);
    to.extend_from_slice(&salt.to_le_bytes());
    to.extend_from_slice(&first.to_le_bytes());
    to.extend_from_slice(&[0; 4]);
    let sum = crc32fast::hash(to);
    to.extend_from_slice(&sum.to_le_bytes());
}
