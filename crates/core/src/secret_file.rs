//! Content of a file that holds a secret: as much of it as counts.

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

/// Fault of the first line of a secret file, for which it cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretLineFault {
    #[error("its first line is empty")]
    Empty,
    #[error("it is UTF-16, and UTF-8 is wanted")]
    Utf16,
    #[error("it is not UTF-8")]
    NotUtf8,
}

/// The first line of a file, as passwords are kept: without its end, and without a byte order mark before it. What stands in
/// further lines is for whoever reads the file.
///
/// # Errors
/// [`SecretLineFault`].
pub fn first_line(content: &[u8]) -> Result<&str, SecretLineFault> {
    if content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]) {
        return Err(SecretLineFault::Utf16);
    }
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = without_mark(std::str::from_utf8(line).map_err(|_| SecretLineFault::NotUtf8)?);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() { Err(SecretLineFault::Empty) } else { Ok(line) }
}

/// The text without the byte order mark that some editors write before it.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_password_is_the_first_line() {
        let cases: [(&[u8], Result<&str, SecretLineFault>); 9] = [
            (b"secret", Ok("secret")),
            (b"secret\n", Ok("secret")),
            (b"secret\r\nrotated by ops\r\n", Ok("secret")),
            (b"\xef\xbb\xbfsecret\n", Ok("secret")),
            (b" p w \n", Ok(" p w ")),
            (b"", Err(SecretLineFault::Empty)),
            (b"\nsecret\n", Err(SecretLineFault::Empty)),
            (b"\xff\xfes\0", Err(SecretLineFault::Utf16)),
            (b"\xe4\n", Err(SecretLineFault::NotUtf8)),
        ];
        for (content, expected) in cases {
            assert_eq!(first_line(content), expected, "{content:?}");
        }
    }

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
