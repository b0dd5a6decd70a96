//! Fields of log lines, and the form in which they are written: nothing in a value can look like another field, another
//! line, or a terminal's order, wherever the value comes from.

use std::error::Error;
use std::fmt::{self, Debug, Write as _};
use std::io;

use omnirelay_core::text::{chain, is_unseen, printable};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The fields of the text format: `name=value`, the value in quotes unless it is one plain word.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, begun: false, outcome: Ok(()) };
        fields.record(&mut line);
        line.outcome
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    begun: bool,
    outcome: fmt::Result,
}

impl Line<'_> {
    fn put(&mut self, field: &Field, value: &str, quoted: bool) {
        if self.outcome.is_ok() {
            self.outcome = self.write(field.name(), value, quoted);
        }
    }

    fn write(&mut self, name: &str, value: &str, quoted: bool) -> fmt::Result {
        if std::mem::replace(&mut self.begun, true) {
            self.writer.write_char(' ')?;
        }
        if name == "message" {
            return self.writer.write_str(&printable(value));
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        match self.writer.has_ansi_escapes() {
            true => write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
            false => write!(self.writer, "{name}=")?,
        }
        if quoted || !is_word(value) {
            write_quoted(&mut self.writer, value)
        } else {
            self.writer.write_str(value)
        }
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value, true);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, &chain(value), false);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, &format!("{value:?}"), false);
    }
}

/// Whether a value can stand without quotes.
fn is_word(value: &str) -> bool {
    !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || is_unseen(c) || "\"\\=".contains(c))
}

fn write_quoted(writer: &mut impl fmt::Write, value: &str) -> fmt::Result {
    writer.write_char('"')?;
    for c in value.chars() {
        match c {
            '"' | '\\' => write!(writer, "\\{c}")?,
            _ if is_unseen(c) => write!(writer, "{}", c.escape_default())?,
            _ => writer.write_char(c)?,
        }
    }
    writer.write_char('"')
}

/// Writes JSON with what cannot be seen written out: all of it stands in strings, where `\u` means the same.
pub(super) struct VisibleJson<W>(pub W);

impl<W: io::Write> io::Write for VisibleJson<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let hidden = |c: char| is_unseen(c) && c != '\n';
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(hidden) => {
                let mut shown = String::with_capacity(text.len() + 16);
                for c in text.chars() {
                    if hidden(c) {
                        for unit in c.encode_utf16(&mut [0; 2]) {
                            let _ = write!(shown, "\\u{unit:04x}");
                        }
                    } else {
                        shown.push(c);
                    }
                }
                self.0.write_all(shown.as_bytes())?;
            }
            Ok(_) | Err(_) => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
#[path = "fields_test.rs"]
mod tests;
