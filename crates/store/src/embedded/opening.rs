//! Which opening of the file wrote what is in it, to find out that an older copy took its place.

use omnirelay_core::time::Millis;

use super::tables::Written;

/// One opening of the file, by a random number, and the one before that wrote to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opening {
    pub id: u64,
    pub before: u64,
}

/// What is noted beside the file after each batch: which one the file held then.
///
/// The file is synced first and the note is never waited for, so a crash may leave a note that is
/// behind the file, but none that is ahead of it. A file that is behind its note, or was written
/// by another opening, is not the one that was used here last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// The opening that wrote the batch.
    pub opening: u64,
    /// The number of the batch.
    pub batch: u64,
    /// Store time when it was noted: what memory alone knew had been heard until about then. 0: it is not known.
    pub at: Millis,
}

impl Note {
    /// The length of [`Note::to_text`] in bytes.
    pub const BYTES: usize = 51;
    /// The length of its first line, which is all that version 0.1 writes and reads.
    const LINE_BYTES: usize = 34;

    pub(super) fn of(written: &Written) -> Self {
        Self { opening: written.opening.id, batch: written.batch, at: written.clock }
    }

    /// Whether a file with `written` is the one that was noted, or what was made of it since.
    pub(super) fn agrees_with(&self, written: &Written) -> bool {
        let Opening { id, before } = written.opening;
        (self.opening == id || self.opening == before) && self.batch <= written.batch
    }

    /// The note as two lines, always of the same length.
    pub fn to_text(self) -> String {
        format!("{:016x} {:016x}\n{:016x}\n", self.opening, self.batch, self.at.0)
    }

    /// Reads what [`Note::to_text`] made, or the first line of it.
    pub fn from_text(text: &str) -> Option<Self> {
        let (line, rest) = text.split_at_checked(Self::LINE_BYTES)?;
        let (opening, batch) = line.strip_suffix('\n')?.split_once(' ')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let at = rest.strip_suffix('\n').and_then(number).unwrap_or(0);
        Some(Self { opening: number(opening)?, batch: number(batch)?, at: Millis(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back() {
        let note = Note { opening: u64::MAX, batch: 7, at: Millis(9) };
        let text = note.to_text();
        assert_eq!(text.len(), Note::BYTES);
        assert_eq!(Note::from_text(&text), Some(note));
        assert_eq!(Note::from_text(&text[..Note::LINE_BYTES]), Some(Note { at: Millis(0), ..note }));
        assert_eq!(Note::from_text(""), None);
    }

    #[test]
    fn a_file_behind_its_note_or_of_another_opening_is_another_file() {
        let written =
            |id, before, batch| Written { opening: Opening { id, before }, batch, ..Written::default() };
        let note = Note { opening: 5, batch: 10, at: Millis(0) };
        let cases = [
            ("as it was left", written(5, 4, 10), true),
            ("a batch that was not noted any more", written(5, 4, 11), true),
            ("the first batch of the next opening, not noted", written(6, 5, 11), true),
            ("a copy from the same opening", written(5, 4, 9), false),
            ("a copy from the opening before", written(4, 3, 9), false),
            ("a copy that went on elsewhere", written(9, 8, 30), false),
        ];
        for (what, written, agrees) in cases {
            assert_eq!(note.agrees_with(&written), agrees, "{what}");
        }
    }
}
