//! The write-ahead log: a batch is durable once its frame is, by one append and one sync.
//!
//! It has two segments. One is appended to; what the other holds is meanwhile written to the store file, and then it is
//! free. So the log never grows beyond two segments, and a disk that is full does not stand in its way.

mod frame;
mod segment;

use std::io;
use std::sync::Arc;

use super::disk::{Disk, MediumHealth};
use super::overlay::Overlay;
use super::written_state::{Opening, WrittenState, written_in};
pub(super) use frame::{u32_at, u64_at};
use segment::{Segment, SegmentContent};

/// How many segments there are.
pub(super) const SEGMENTS: usize = 2;

#[derive(Debug)]
pub(super) struct Wal {
    segments: [Segment; SEGMENTS],
    /// Which one is appended to.
    current: usize,
    /// How long a segment becomes.
    limit: u64,
    buffer: Vec<u8>,
    seen: Arc<MediumHealth>,
}

/// Tail of the log: what its segments hold that goes on from the store file.
#[derive(Default)]
pub(super) struct LogTail {
    /// The batch that it ends with, as if the file had it; the file's own if the log has nothing more.
    pub last: WrittenState,
    /// What is in the segment that is full, to be written to the store file.
    pub frozen: Option<Overlay>,
    /// What is in the segment that is appended to.
    pub active: Overlay,
    /// True: there is a frame behind the last one that does not go on from it. Some of the log is missing.
    pub torn: bool,
    segments: Vec<usize>,
}

/// Segments of the log as they were found.
pub(super) struct FoundSegments {
    wal: Wal,
    contents: [Option<SegmentContent>; SEGMENTS],
}

/// Error of a log that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a frame of the log cannot be read")]
pub(super) struct UnreadableLog;

impl LogTail {
    /// Of a log that has nothing behind what the file has.
    pub(super) fn nothing_behind(file: &WrittenState) -> Self {
        Self { last: *file, ..Self::default() }
    }
}

impl FoundSegments {
    /// Opens the segments and reads what they hold.
    pub(super) fn open(disk: &mut dyn Disk, limit: u64, seen: &Arc<MediumHealth>) -> io::Result<Self> {
        let mut segments = [Segment::over(disk.open_segment(0)?)?, Segment::over(disk.open_segment(1)?)?];
        let contents = [segments[0].content()?, segments[1].content()?];
        segments.iter_mut().for_each(Segment::release);
        let wal = Wal { segments, current: 0, limit, buffer: Vec::new(), seen: Arc::clone(seen) };
        Ok(Self { wal, contents })
    }

    /// Tail that goes on from `base`, the last batch that the store file has.
    pub(super) fn tail(&self, base: &WrittenState) -> Result<LogTail, UnreadableLog> {
        let mut tail = LogTail::nothing_behind(base);
        let mut order: Vec<_> = self
            .contents
            .iter()
            .enumerate()
            .filter_map(|(at, content)| Some((at, content.as_ref()?)))
            .collect();
        order.sort_by_key(|(_, content)| content.first);
        for (at, content) in order {
            let mut overlay = Overlay::default();
            for (_, frame) in content.frames() {
                if frame.batch <= tail.last.batch {
                    continue;
                }
                let mut changes = Overlay::default();
                frame.replay(&mut changes).ok_or(UnreadableLog)?;
                let written = written_in(&changes).ok_or(UnreadableLog)?;
                if frame.batch != tail.last.batch + 1 || !follows(tail.last.opening, written.opening) {
                    break;
                }
                overlay.absorb(changes);
                tail.last = written;
            }
            if !overlay.is_empty() {
                let older = std::mem::replace(&mut tail.active, overlay);
                tail.frozen = (!older.is_empty()).then_some(older);
                tail.segments.push(at);
            }
        }
        let newest = self.contents.iter().flatten().filter_map(SegmentContent::newest).max();
        tail.torn = newest.is_some_and(|newest| newest > tail.last.batch);
        Ok(tail)
    }

    /// The log that goes on behind `tail`.
    pub(super) fn resume(self, tail: &LogTail) -> io::Result<Wal> {
        let Self { mut wal, contents } = self;
        for &at in &tail.segments {
            if let (Some(segment), Some(Some(content))) = (wal.segments.get_mut(at), contents.get(at)) {
                segment.resume(content, tail.last.batch)?;
                wal.seen.count_sync();
                wal.current = at;
            }
        }
        Ok(wal)
    }

    /// A log that holds nothing: what was found has nothing to do with the store file, or is in it.
    pub(super) fn begin_anew(self) -> io::Result<Wal> {
        let Self { mut wal, .. } = self;
        wal.erase()?;
        Ok(wal)
    }
}

/// Whether what one opening wrote may stand behind what another one wrote.
fn follows(last: Opening, next: Opening) -> bool {
    next.id == last.id || next.before == last.id
}

impl Wal {
    /// Whether the frame of these changes fits into the segment that is appended to.
    ///
    /// # Errors
    /// When the disk has no room for it, or fails. Nothing was appended.
    pub(super) fn has_room(&mut self, changes: &Overlay) -> io::Result<bool> {
        let bytes = frame::length(changes);
        let limit = self.limit;
        self.segments[self.current].reserve(bytes, limit)
    }

    /// Bytes that can be appended without taking room from the disk.
    pub(super) fn room(&self) -> u64 {
        self.segments[self.current].room(self.limit)
    }

    /// True if nothing in the segment that is appended to is needed.
    pub(super) fn is_at_beginning(&self) -> bool {
        self.segments[self.current].is_free()
    }

    /// Leaves nothing in the log: all of it is in the store file.
    pub(super) fn erase(&mut self) -> io::Result<()> {
        self.segments.iter_mut().try_for_each(Segment::erase)
    }

    /// Goes on with the other segment, of which nothing is needed any more.
    pub(super) fn turn(&mut self) {
        self.current = (self.current + 1) % SEGMENTS;
        self.segments[self.current].release();
    }

    /// Appends the frame of a batch and syncs it.
    ///
    /// # Errors
    /// Nobody knows then whether the frame is there; the log must be opened again.
    pub(super) fn append(&mut self, batch: u64, changes: &Overlay) -> io::Result<()> {
        let segment = &mut self.segments[self.current];
        segment.append(batch, changes, &mut self.buffer)?;
        self.seen.count_sync();
        segment.sync()?;
        if self.buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }
}

/// The longest buffer that is kept from one append to the next.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;
