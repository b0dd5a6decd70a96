//! What is known of standard output, and what may be shown on it.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What is known of standard output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    pub tty: bool,
    /// What was written can be drawn over: a terminal, and not a dumb one.
    pub redraws: bool,
    pub color: bool,
    /// Columns that may be written to; `None`: never cut.
    pub width: Option<usize>,
    /// The environment says that width.
    pub pinned: Option<usize>,
    /// Columns of the terminal, whatever the environment says.
    pub columns: Option<usize>,
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
        let columns = usize::from(width.0);
        let width = self.pinned.unwrap_or(columns);
        Self { width: Some(width), columns: Some(columns), height: Some(usize::from(height.0)), ..self }
    }

    /// The same for what is drawn over later: no line is longer than the terminal, which would break it.
    #[must_use]
    pub fn bounded(self) -> Self {
        let width = [self.width, self.columns].into_iter().flatten().min();
        Self { width, ..self }
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
