//! Note of the last batch, kept beside the file to find out that an older copy took its place.

use omnirelay_core::time::Millis;

use super::written_state::{Opening, WrittenState};

/// Note beside the file after each batch: which one the log held then, and which one the file.
///
/// The log is synced first and the note is never waited for, so a crash may leave a note that is
/// behind the log, but none that is ahead of it. A file that is behind its note, or was written
/// by another opening, is not the one that was used here last; a log that is behind it lacks
/// what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNote {
    /// The opening that wrote the batch.
    pub opening: u64,
    /// The number of the batch.
    pub batch: u64,
    /// Store time when it was noted: what memory alone knew had been heard until about then. 0: it is not known.
    pub at: Millis,
    /// The opening that wrote the last batch that the file had.
    pub file_opening: u64,
    /// The number of that batch.
    pub file_batch: u64,
}

/// Content of the place of the note, as it was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FoundNote {
    /// Nothing: a first start, or the file was moved here without it.
    #[default]
    Nothing,
    Note(BatchNote),
    /// A note that is not as its checksum has it: it was damaged, or an earlier version, which knows no checksum, wrote
    /// over the first lines of it. What it says may be true.
    Unproven(BatchNote),
    /// No note, and not nothing.
    Damaged,
}

impl FoundNote {
    /// Note that was found, be it proven or not.
    pub fn note(self) -> Option<BatchNote> {
        match self {
            Self::Note(note) | Self::Unproven(note) => Some(note),
            Self::Nothing | Self::Damaged => None,
        }
    }

    /// Whether it may say what nobody wrote.
    pub fn is_doubtful(self) -> bool {
        match self {
            Self::Nothing | Self::Note(_) => false,
            Self::Unproven(_) | Self::Damaged => true,
        }
    }
}

impl BatchNote {
    /// The length of [`BatchNote::to_text`] in bytes.
    pub const BYTES: usize = Self::SUMMED_BYTES + 15;
    /// The length of the lines that the checksum is of, which are all that version 0.2 writes and reads.
    const SUMMED_BYTES: usize = 85;
    /// The length of its first line, which is all that version 0.1 writes and reads. Its file had every batch.
    const LINE_BYTES: usize = 34;

    pub(super) fn of(written: &WrittenState, file: &WrittenState) -> Self {
        Self {
            opening: written.opening.id,
            batch: written.batch,
            at: written.clock,
            file_opening: file.opening.id,
            file_batch: file.batch,
        }
    }

    /// Whether a file that ends with `file` is the one that was noted, or what was made of it since.
    pub(super) fn is_of_file(&self, file: &WrittenState) -> bool {
        let Opening { id, before } = file.opening;
        let is_known = [id, before].contains(&self.opening) || id == self.file_opening;
        is_known && self.file_batch <= file.batch
    }

    /// Whether all that was noted is in a log, or a file, that ends with `last`.
    pub(super) fn is_in(&self, last: &WrittenState) -> bool {
        let Opening { id, before } = last.opening;
        [id, before].contains(&self.opening) && self.batch <= last.batch
    }

    /// The note as three lines and one with their checksum, always of the same length.
    pub fn to_text(self) -> String {
        let Self { opening, batch, at, file_opening, file_batch } = self;
        let text =
            format!("{opening:016x} {batch:016x}\n{:016x}\n{file_opening:016x} {file_batch:016x}\n", at.0);
        let sum = crc32fast::hash(text.as_bytes());
        format!("{text}crc32 {sum:08x}\n")
    }

    /// Reads the bytes of the file.
    pub fn read(bytes: &[u8]) -> FoundNote {
        if bytes.is_empty() {
            return FoundNote::Nothing;
        }
        let Some(note) = std::str::from_utf8(bytes).ok().and_then(Self::from_text) else {
            return FoundNote::Damaged;
        };
        // An earlier version has written it: it is as short as that.
        if bytes.len() <= Self::SUMMED_BYTES || bytes == note.to_text().as_bytes() {
            FoundNote::Note(note)
        } else {
            FoundNote::Unproven(note)
        }
    }

    /// Reads what [`BatchNote::to_text`] made, or the first lines of it.
    fn from_text(text: &str) -> Option<Self> {
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let pair = |line: &str| {
            let (opening, batch) = line.split_once(' ')?;
            Some((number(opening)?, number(batch)?))
        };
        let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
        let (opening, batch) =
            lines.next().filter(|line| line.len() + 1 == Self::LINE_BYTES).and_then(pair)?;
        let at = lines.next().and_then(number).unwrap_or(0);
        let (file_opening, file_batch) = lines.next().and_then(pair).unwrap_or((opening, batch));
        Some(Self { opening, batch, at: Millis(at), file_opening, file_batch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: BatchNote =
        BatchNote { opening: 5, batch: 10, at: Millis(9), file_opening: 4, file_batch: 8 };

    fn written(id: u64, before: u64, batch: u64) -> WrittenState {
        WrittenState { opening: Opening { id, before }, batch, ..WrittenState::default() }
    }

    #[test]
    fn a_note_is_read_back() {
        let note = BatchNote { opening: u64::MAX, ..NOTE };
        let text = note.to_text();
        assert_eq!(text.len(), BatchNote::BYTES);
        assert_eq!(BatchNote::read(text.as_bytes()), FoundNote::Note(note));
        assert_eq!(
            BatchNote::read(&text.as_bytes()[..BatchNote::SUMMED_BYTES]),
            FoundNote::Note(note),
            "of version 0.2"
        );
        let of_0_1 = BatchNote { at: Millis(0), file_opening: u64::MAX, file_batch: 10, ..note };
        assert_eq!(BatchNote::from_text(&text[..BatchNote::LINE_BYTES]), Some(of_0_1));
        assert_eq!(BatchNote::from_text(&text[..51]), Some(BatchNote { at: Millis(9), ..of_0_1 }));
        assert_eq!(BatchNote::from_text(""), None);
        assert_eq!(BatchNote::from_text("1 2\n"), None);
    }

    #[test]
    fn every_flipped_bit_of_a_note_is_noticed() {
        let text = NOTE.to_text();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone().into_bytes();
                flipped[at] ^= 1 << bit;
                assert!(BatchNote::read(&flipped).is_doubtful(), "bit {bit} of byte {at}");
            }
        }
        assert_eq!(BatchNote::read(b""), FoundNote::Nothing);
        assert_eq!(BatchNote::read(&[0; BatchNote::BYTES]), FoundNote::Damaged);
    }

    #[test]
    fn what_version_0_2_writes_over_it_is_read_in_doubt() {
        let later = BatchNote { batch: 11, ..NOTE };
        let mut text = NOTE.to_text().into_bytes();
        text[..BatchNote::SUMMED_BYTES]
            .copy_from_slice(&later.to_text().as_bytes()[..BatchNote::SUMMED_BYTES]);
        assert_eq!(BatchNote::read(&text), FoundNote::Unproven(later));
        // It reads the lines that it knows.
        assert_eq!(BatchNote::from_text(&later.to_text()[..BatchNote::SUMMED_BYTES]), Some(later));
    }

    #[test]
    fn a_file_behind_its_note_or_of_another_opening_is_another_file() {
        let cases = [
            ("as it was left", written(4, 3, 8), true),
            ("a checkpoint that was not noted any more", written(5, 4, 10), true),
            ("the first checkpoint of the next opening, not noted", written(6, 5, 11), true),
            ("a copy from the same opening", written(4, 3, 7), false),
            ("a copy from the opening before", written(3, 2, 5), false),
            ("a copy that went on elsewhere", written(9, 8, 30), false),
        ];
        for (what, file, is_ours) in cases {
            assert_eq!(NOTE.is_of_file(&file), is_ours, "{what}");
        }
    }

    #[test]
    fn a_log_behind_its_note_lacks_something() {
        let cases = [
            ("as it was left", written(5, 4, 10), true),
            ("a batch that was not noted any more", written(5, 4, 11), true),
            ("one of the next opening", written(6, 5, 11), true),
            ("without its last frame", written(5, 4, 9), false),
            ("gone: the file alone", written(4, 3, 8), false),
            ("of another life", written(9, 8, 30), false),
        ];
        for (what, last, is_whole) in cases {
            assert_eq!(NOTE.is_in(&last), is_whole, "{what}");
        }
    }
}
