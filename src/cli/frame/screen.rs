//! What is known of standard output, and what may be shown on it.

/// What is known of standard output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    pub tty: bool,
    pub color: bool,
    /// Columns of the terminal; `None`: never cut.
    pub width: Option<usize>,
    /// Rows of the terminal.
    pub height: Option<usize>,
    pub unicode: bool,
}

/// `text` with what cannot be seen written out, so that data cannot drive a terminal.
pub fn printable(text: &str) -> String {
    omnirelay_core::text::printable(text).into_owned()
}
