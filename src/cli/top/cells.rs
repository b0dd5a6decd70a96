//! Rows of lists as they are shown: made of the API's documents once, so that what is not shown is not kept.

use unicode_width::UnicodeWidthStr as _;

use crate::frame::prelude::*;
use crate::frame::screen::within;

/// Widest that a column is.
const WIDTH_MAX: usize = 40;

/// State of something, by a sign and not by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Good,
    /// Nothing to judge, or gone as it should be.
    Quiet,
    /// Held back by an order of somebody.
    Held,
    Warn,
    Bad,
}

impl Tone {
    pub(super) fn sign(self, unicode: bool) -> &'static str {
        match (self, unicode) {
            (Self::Good, true) => "✓",
            (Self::Good, false) => "+",
            (Self::Quiet, true) => "·",
            (Self::Quiet, false) => ".",
            (Self::Held, true) => "‖",
            (Self::Held, false) => "=",
            (Self::Warn, _) => "!",
            (Self::Bad, true) => "✗",
            (Self::Bad, false) => "x",
        }
    }

    /// Whether somebody should look.
    pub(super) fn is_wrong(self) -> bool {
        matches!(self, Self::Warn | Self::Bad)
    }
}

/// Cell of a row; times stay times, so that ages go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    /// Milliseconds since the epoch of something that was.
    Ago(i64),
    /// The same of something that will be.
    Left(i64),
}

impl Cell {
    /// Text with what cannot be seen written out.
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(printable(text.as_ref()))
    }

    /// As many as there are; nothing for none.
    pub(super) fn count(number: u64) -> Self {
        Self::Text(if number == 0 { String::new() } else { number.to_string() })
    }

    pub(super) fn ago(time: &Value) -> Self {
        time::millis(time).map_or_else(|| Self::Text(String::new()), Self::Ago)
    }

    pub(super) fn left(time: &Value) -> Self {
        time::millis(time).map_or_else(|| Self::Text(String::new()), Self::Left)
    }

    pub(super) fn shown(&self, moment: CellContext) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Ago(then) if moment.absolute => time::of_day(*then),
            Self::Ago(then) => time::ago_of(*then, moment),
            Self::Left(then) if moment.absolute => time::clock(*then),
            Self::Left(then) => time::left_of(*then, moment),
        }
    }

    fn width(&self, absolute: bool) -> usize {
        match self {
            Self::Text(text) => text.width(),
            Self::Ago(_) if absolute => "06:01:09".len(),
            Self::Left(_) if absolute => "2026-11-20T06:01:09Z".len(),
            // `119m` is as long as any age of less than 30 years.
            Self::Ago(_) | Self::Left(_) => 4,
        }
    }
}

/// Row of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub id: String,
    pub tone: Tone,
    pub cells: Vec<Cell>,
}

impl Row {
    /// Whether any of its cells has this text in it, in small letters.
    pub(super) fn has(&self, text: &str) -> bool {
        let found = |cell: &Cell| matches!(cell, Cell::Text(cell) if cell.to_lowercase().contains(text));
        self.id.to_lowercase().contains(text) || self.cells.iter().any(found)
    }

    /// Text of a cell; empty where it is a time or is not there.
    pub(super) fn said(&self, column: usize) -> &str {
        match self.cells.get(column) {
            Some(Cell::Text(text)) => text,
            Some(Cell::Ago(_) | Cell::Left(_)) | None => "",
        }
    }
}

/// Column of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowColumn {
    pub title: &'static str,
    pub right: bool,
    pub cell: fn(&Value) -> Cell,
}

impl RowColumn {
    pub(super) const fn new(title: &'static str, cell: fn(&Value) -> Cell) -> Self {
        Self { title, right: false, cell }
    }

    #[must_use]
    pub(super) const fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

/// Width of each column, by all rows that are known: columns stay where they are as one scrolls.
pub(super) fn widths(titles: &[&str], rows: &[Row], absolute: bool) -> Vec<usize> {
    let mut widths: Vec<usize> = titles.iter().map(|title| title.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = cell.width(absolute).min(WIDTH_MAX).max(*width);
        }
    }
    widths
}

/// Text in exactly so many columns: cut, or filled up on the left or right.
pub(super) fn padded(text: &str, columns: usize, right: bool) -> String {
    let text =
        if text.width() > columns { crate::frame::screen::fitted(text, columns) } else { text.to_owned() };
    let text = within(text.chars(), columns);
    let gap = " ".repeat(columns.saturating_sub(text.width()));
    if right { format!("{gap}{text}") } else { format!("{text}{gap}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_drive_a_terminal() {
        assert_eq!(Cell::text("a\x1b[2J\u{202e}b"), Cell::Text("a\\u{1b}[2J\\u{202e}b".to_owned()));
    }

    #[test]
    fn texts_fill_their_column_exactly() {
        for (text, columns, right, expected) in [
            ("ab", 4, false, "ab  "),
            ("ab", 4, true, "  ab"),
            ("abcdef", 4, false, "abc…"),
            ("", 2, true, "  "),
            ("日本語", 4, false, "日… "),
        ] {
            assert_eq!(padded(text, columns, right), expected, "{text}");
        }
    }

    #[test]
    fn signs_differ_in_shape() {
        let tones = [Tone::Good, Tone::Quiet, Tone::Held, Tone::Warn, Tone::Bad];
        for unicode in [true, false] {
            let signs: std::collections::BTreeSet<&str> =
                tones.iter().map(|tone| tone.sign(unicode)).collect();
            assert_eq!(signs.len(), tones.len());
        }
    }
}
