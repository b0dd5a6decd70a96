//! What counts of a file that holds a secret.

/// The secret in the content of a file: of text all but the end of its last line, which editors and `echo` add; of
/// anything else every byte, for random bytes may well be white space.
///
/// Text is UTF-8 without control characters, tabs aside.
pub fn secret_of(content: &[u8]) -> &[u8] {
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    let line = line.strip_suffix(b"\r").filter(|_| line.len() < content.len()).unwrap_or(line);
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && c != '\t');
    if std::str::from_utf8(line).is_ok_and(is_text) { line } else { content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_loses_the_end_of_its_line_and_nothing_else_is_lost() {
        let cases: [(&str, &[u8], &[u8]); 12] = [
            ("a line", b"secret\n", b"secret"),
            ("a line of other systems", b"secret\r\n", b"secret"),
            ("without an end", b"secret", b"secret"),
            ("white space around", b" secret\t\n", b" secret\t"),
            ("not ASCII", "geheim\u{e4}\n".as_bytes(), "geheim\u{e4}".as_bytes()),
            ("two ends", b"secret\n\n", b"secret\n\n"),
            ("an end that is half one", b"secret\r", b"secret\r"),
            ("nothing", b"", b""),
            ("an empty line", b"\n", b""),
            ("bytes that end like a line", b"\xff\x01\n", b"\xff\x01\n"),
            ("bytes that begin with white space", b" \x80x", b" \x80x"),
            ("control characters", b"a\x00b\n", b"a\x00b\n"),
        ];
        for (what, content, secret) in cases {
            assert_eq!(secret_of(content), secret, "{what}");
        }
    }

    #[test]
    fn every_byte_may_end_a_binary_secret() {
        for last in 0..=u8::MAX {
            let content = [&[0xff, 0x00], [last].as_slice()].concat();
            assert_eq!(secret_of(&content), content, "{last:#x}");
            let turned: Vec<u8> = content.iter().rev().copied().collect();
            assert_eq!(secret_of(&turned), turned, "{last:#x} first");
        }
    }
}
