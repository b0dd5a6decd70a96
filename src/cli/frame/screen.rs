//! Facts about standard output, and what may be shown on it.

use std::borrow::Cow;

use omnirelay_core::text::is_unseen;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Facts about standard output.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutScreen {
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

impl StdoutScreen {
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
pub(crate) fn fitted(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    format!("{}…", within(text.chars(), columns.saturating_sub(1)))
}

/// As many of the characters as fit into so many columns.
pub(crate) fn within(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used <= columns
    };
    characters.take_while(fits).collect()
}

/// Complete lines with what cannot be seen in them written out, whatever a command has made them of; the colours of this program
/// stay where `color` is on.
pub(crate) fn visible_lines(lines: &str, color: bool) -> Cow<'_, str> {
    let is_misleading = |c: char| !matches!(c, '\n' | '\t') && is_unseen(c);
    if !lines.chars().any(is_misleading) {
        return Cow::Borrowed(lines);
    }
    let mut shown = String::with_capacity(lines.len() + 16);
    let mut rest = lines;
    while let Some(c) = rest.chars().next() {
        let painted = if color { color_code(rest) } else { 0 };
        let taken = painted.max(c.len_utf8());
        match is_misleading(c) && painted == 0 {
            true => shown.extend(c.escape_default()),
            false => shown.push_str(&rest[..taken]),
        }
        rest = &rest[taken..];
    }
    Cow::Owned(shown)
}

/// How long the code is that sets a colour or the weight of letters, at the beginning of a text; 0: there is none.
fn color_code(text: &str) -> usize {
    let Some(code) = text.strip_prefix("\x1b[") else { return 0 };
    let digits = code.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if code.as_bytes().get(digits) == Some(&b'm') { digits + 3 } else { 0 }
}

/// JSON with what cannot be seen in its strings as escapes, which mean the same.
pub(crate) fn visible_json(json: String) -> String {
    let is_misleading = |c: char| c != '\n' && is_unseen(c);
    if !json.chars().any(is_misleading) {
        return json;
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_misleading(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// `text` with what cannot be seen written out, so that data cannot drive a terminal.
pub(crate) fn printable(text: &str) -> String {
    omnirelay_core::text::printable(text).into_owned()
}

/// The same of several lines, those behind the first below its beginning.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n      ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_mislead_nobody_and_keep_their_colours() {
        let cases = [
            ("plain\n\ttext größe", false, "plain\n\ttext größe"),
            ("a\u{202e}b", true, "a\\u{202e}b"),
            ("\x1b[1;31mred\x1b[0m \u{200b}", true, "\x1b[1;31mred\x1b[0m \\u{200b}"),
            ("\x1b[31mred", false, "\\u{1b}[31mred"),
            ("\x1b[2J\x1b]0;title\x07", true, "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
        ];
        for (text, color, expected) in cases {
            assert_eq!(visible_lines(text, color), expected);
        }
    }

    #[test]
    fn json_means_the_same_with_what_is_unseen_written_out() {
        let value = serde_json::json!({"a\u{202e}": "\u{2066}\u{e0061}\u{9b}\u{7f}x\n\u{fc}"});
        let shown = visible_json(serde_json::to_string_pretty(&value).unwrap());
        assert!(!shown.chars().any(|c| c != '\n' && is_unseen(c)), "{shown}");
        assert!(shown.contains("\\u202e") && shown.contains('\u{fc}'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
