//! A frame of the write-ahead log: one batch, whole, with a checksum.
//!
//! ```text
//! crc32 u32 | length u32 | salt u64 | batch u64 | changes ... | zeros up to a multiple of 8
//! change: table u8 | deleted u8 | key length u16 | row length u32 | key | row
//! ```
//!
//! Numbers are little-endian. The checksum is of everything behind it; the length is of the changes alone. The salt is
//! that of the segment's lap: what an earlier lap has left behind is no frame of this one.

use bytes::Bytes;

use super::super::overlay::{Overlay, Tree};

pub(in super::super) const HEADER_BYTES: usize = 24;
const CHANGE_HEADER_BYTES: usize = 8;
/// Frames begin at multiples of this.
const ALIGNMENT: usize = 8;

const ROWS: u8 = 0;
const LOG: u8 = 1;

/// A frame that was found in a segment.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Frame<'a> {
    pub batch: u64,
    changes: &'a [u8],
    /// All of it, the header and the zeros at its end included.
    pub bytes: &'a [u8],
}

/// Length of the frame of these changes, in bytes.
pub(super) fn length(changes: &Overlay) -> usize {
    let of = |key: &Bytes, row: Option<&Bytes>| CHANGE_HEADER_BYTES + key.len() + row.map_or(0, Bytes::len);
    let changes: usize = changes.changes().map(|(_, key, row)| of(key, row)).sum();
    (HEADER_BYTES + changes).next_multiple_of(ALIGNMENT)
}

/// Appends the frame of a batch to `to`, whose length is a multiple of 8.
pub(super) fn write(to: &mut Vec<u8>, salt: u64, batch: u64, changes: &Overlay) {
    let begin = to.len();
    to.extend_from_slice(&[0; 8]);
    to.extend_from_slice(&salt.to_le_bytes());
    to.extend_from_slice(&batch.to_le_bytes());
    for (tree, key, row) in changes.changes() {
        let number = match tree {
            Tree::Rows => ROWS,
            Tree::Log => LOG,
        };
        to.extend_from_slice(&[number, u8::from(row.is_none())]);
        // The limits of the port keep keys below 64 KiB and rows below 4 GiB.
        to.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        let row = row.map_or(&[][..], Bytes::as_ref);
        to.extend_from_slice(&u32::try_from(row.len()).unwrap_or(u32::MAX).to_le_bytes());
        to.extend_from_slice(key);
        to.extend_from_slice(row);
    }
    let length = to.len() - begin - HEADER_BYTES;
    to.resize(to.len().next_multiple_of(ALIGNMENT), 0);
    if let Some(frame) = to.get_mut(begin..) {
        seal(frame, length);
    }
}

/// Writes the length of the changes and the checksum into a frame.
fn seal(frame: &mut [u8], length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = frame.get_mut(4..8) {
        place.copy_from_slice(&length);
    }
    let sum = crc32fast::hash(frame.get(4..).unwrap_or_default()).to_le_bytes();
    if let Some(place) = frame.get_mut(..4) {
        place.copy_from_slice(&sum);
    }
}

/// The frame of this lap that begins at `offset`; `None` if there is none, or not all of it.
pub(super) fn read(segment: &[u8], offset: usize, salt: u64) -> Option<Frame<'_>> {
    let rest = segment.get(offset..)?;
    let (header, _) = rest.split_first_chunk::<HEADER_BYTES>()?;
    if u64_at(header, 8)? != salt {
        return None;
    }
    let length = usize::try_from(u32_at(header, 4)?).ok()?;
    let end = HEADER_BYTES.checked_add(length)?.checked_next_multiple_of(ALIGNMENT)?;
    let bytes = rest.get(..end)?;
    if crc32fast::hash(bytes.get(4..)?) != u32_at(header, 0)? {
        return None;
    }
    let changes = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?;
    Some(Frame { batch: u64_at(header, 16)?, changes, bytes })
}

/// The greatest batch of a frame of this lap that begins behind `offset`.
pub(super) fn newest_behind(segment: &[u8], offset: usize, salt: u64) -> Option<u64> {
    let offsets = (offset.next_multiple_of(ALIGNMENT)..segment.len()).step_by(ALIGNMENT);
    offsets.filter_map(|offset| read(segment, offset, salt)).map(|frame| frame.batch).max()
}

impl Frame<'_> {
    /// Makes the changes in `overlay`. `None` if what is in the frame is none: it was sealed so.
    pub(super) fn replay(&self, overlay: &mut Overlay) -> Option<()> {
        let mut rest = self.changes;
        while !rest.is_empty() {
            let (header, behind) = rest.split_first_chunk::<CHANGE_HEADER_BYTES>()?;
            let tree = match header[0] {
                ROWS => Tree::Rows,
                LOG => Tree::Log,
                _ => return None,
            };
            let deleted = header[1] != 0;
            let key_length = usize::from(u16::from_le_bytes([header[2], header[3]]));
            let row_length = usize::try_from(u32_at(header, 4)?).ok()?;
            let (key, behind) = behind.split_at_checked(key_length)?;
            let (row, behind) = behind.split_at_checked(row_length)?;
            let row = (!deleted).then(|| Bytes::copy_from_slice(row));
            overlay.set(tree, Bytes::copy_from_slice(key), row);
            rest = behind;
        }
        Some(())
    }
}

pub(in super::super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

pub(in super::super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Overlay {
        let mut changes = Overlay::default();
        changes.set(Tree::Rows, Bytes::from_static(b"key"), Some(Bytes::from_static(b"row")));
        changes.set(Tree::Rows, Bytes::from_static(b"gone"), None);
        changes.set(Tree::Log, Bytes::from_static(b"7"), Some(Bytes::new()));
        changes
    }

    fn told(overlay: &Overlay) -> Vec<String> {
        overlay.changes().map(|change| format!("{change:?}")).collect()
    }

    #[test]
    fn a_frame_is_read_back() {
        let mut segment = vec![0; 16];
        write(&mut segment, 5, 9, &changes());
        assert_eq!(segment.len() - 16, length(&changes()));
        let frame = read(&segment, 16, 5).unwrap();
        let mut overlay = Overlay::default();
        frame.replay(&mut overlay).unwrap();
        assert_eq!((frame.batch, told(&overlay)), (9, told(&changes())));
        assert!(read(&segment, 16, 6).is_none(), "a frame of another lap");
    }

    #[test]
    fn a_frame_that_lacks_any_byte_is_none() {
        let mut segment = Vec::new();
        write(&mut segment, 5, 9, &changes());
        for at in 0..segment.len() {
            let mut torn = segment.clone();
            torn[at] ^= 1;
            assert!(read(&torn, 0, 5).is_none(), "byte {at}");
            assert!(read(&segment[..at], 0, 5).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn what_stands_behind_a_torn_frame_is_found() {
        let mut segment = Vec::new();
        for batch in 1..=3 {
            write(&mut segment, 5, batch, &changes());
        }
        segment[length(&changes()) + 30] ^= 1;
        assert!(read(&segment, length(&changes()), 5).is_none());
        assert_eq!(newest_behind(&segment, length(&changes()) + 1, 5), Some(3));
        assert_eq!(newest_behind(&segment, length(&changes()) * 2 + 1, 5), None);
    }
}
