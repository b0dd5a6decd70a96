//! What is known of standard output, and what may be shown on it.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What is known of standard output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    pub tty: bool,
    /// What was written can be drawn over: a terminal, and not a dumb one.
    pub redraws: bool,
    pub color: bool,
    /// Columns of the terminal; `None`: never cut.
    pub width: Option<usize>,
    /// The environment says the width, whatever the terminal has.
    pub pinned: bool,
    /// Rows of the terminal.
    pub height: Option<usize>,
    pub unicode: bool,
}

impl Screen {
    /// The same with the size the terminal has now.
    #[must_use]
    pub fn measured(self) -> Self {
        let size = if self.tty { terminal_size::terminal_size_of(std::io::stdout()) } else { None };
        let Some((width, height)) = size else { return self };
        let width = if self.pinned { self.width } else { Some(usize::from(width.0)) };
        Self { width, height: Some(usize::from(height.0)), ..self }
    }
}

/// As much of `text` as fits into so many columns of a terminal, the last of them an ellipsis when there is more.
pub fn fitted(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    format!("{}…", within(text.chars(), columns.saturating_sub(1)))
}

/// As many of the characters as fit into so many columns.
pub fn within(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used <= columns
    };
    characters.take_while(fits).collect()
}

/// `text` with what cannot be seen written out, so that data cannot drive a terminal.
pub fn printable(text: &str) -> String {
    omnirelay_core::text::printable(text).into_owned()
}
