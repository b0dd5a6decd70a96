//! Characters that text from outside may not have, because whoever reads it would not see them or be misled by them.

use std::borrow::Cow;

pub use crate::foreign_errors::{causes, chain};

/// Whether a character steers the terminal or the order of what is read, or takes no room: control characters, line
/// separators, marks of direction, and characters of no width.
///
/// Two texts that differ in these look the same, and one that has them may look like another.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with what cannot be seen written out, such as `\u{202e}`, so that it cannot drive a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unseen(c) {
            // `escape_default` writes out all but visible ASCII.
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The beginning of a text, at most so many characters, with a `?` for each that cannot be seen: for an error that names
/// what was sent.
pub fn shown(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(|c| if is_unseen(c) { '?' } else { c }).collect()
}

/// Bytes as two lower-case hexadecimal digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that are written in as many pairs of hexadecimal digits, of either case, and nothing else.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// The innermost cause of an error: it says what happened, the outer ones only where.
pub fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
}

/// `a, b and 12 more`: the first of them, at most so many.
pub fn some_of<T: AsRef<str>>(all: &[T], named_max: usize) -> String {
    let named: Vec<&str> = all.iter().take(named_max).map(AsRef::as_ref).collect();
    match all.len().saturating_sub(named_max) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// `1 peer`, `2 peers`.
pub fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash: [u8; 32] = std::array::from_fn(|at| 255 - u8::try_from(at).unwrap());
        assert_eq!(from_hex(&hex(&hash)), Some(hash));
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"\u{e9}".repeat(32), &"+0".repeat(32)] {
            assert_eq!(from_hex::<32>(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_sent_is_shown_short_and_harmless() {
        assert_eq!(shown("gr\u{f6}\u{df}e\n\u{202e}x", 7), "gr\u{f6}\u{df}e??");
        assert_eq!(shown("", 7), "");
    }

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        let cases = [
            ("plain", "peer node-1: größe, 工程, 🛠️", "peer node-1: größe, 工程, 🛠️"),
            ("a line of its own", "a\nb\r", "a\\nb\\r"),
            ("a terminal's colour", "a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("a terminal's colour in one byte", "\u{9b}31m", "\\u{9b}31m"),
            ("the other direction", "a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("no width", "no\u{200b}de\u{feff}", "no\\u{200b}de\\u{feff}"),
            ("a soft hyphen and a filler", "a\u{ad}b\u{3164}", "a\\u{ad}b\\u{3164}"),
            ("another line", "a\u{2028}b", "a\\u{2028}b"),
            ("tags", "\u{e0061}", "\\u{e0061}"),
        ];
        for (what, text, expected) in cases {
            assert_eq!(printable(text), expected, "{what}");
            assert_eq!(text.chars().any(is_unseen), text != expected, "{what}");
        }
    }
}
