//! Rust source as tokens, so that a rule reads code and not prose.

use crate::repository::File;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An identifier, a keyword or a number.
    Word,
    /// A string literal, without its quotes and with its escapes as written.
    Text,
    /// `::`, or one character of punctuation. Characters and lifetimes are left out.
    Symbol,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub text: String,
    /// From 1.
    pub line: usize,
}

impl Token {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text == word
    }

    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }
}

/// The code of `file` without its comments and without its tests, read once for all rules that ask.
pub(crate) fn code(file: &File) -> &[Token] {
    file.code.get_or_init(|| read_code(file))
}

fn read_code(file: &File) -> Vec<Token> {
    let is_tests = file.path.ends_with("/tests.rs")
        || file.path.ends_with("_test.rs")
        || file.path.contains("_test/")
        || file.path.contains("/tests/");
    if is_tests && (file.is_below("src/") || file.is_below("crates/")) {
        return Vec::new();
    }
    without_tests(tokens(&file.text))
}

/// The tokens of `source`; comments are dropped.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut scanner = Scanner { rest: source, line: 1, tokens: Vec::new() };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    scanner.tokens
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let mut chars = self.rest.chars();
        let first = chars.next().unwrap_or_default();
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(block_comment_bytes(self.rest));
        } else if let Some(delimiters) = Delimiters::of(self.rest) {
            self.string(&delimiters);
        } else if self.rest.starts_with("b'") {
            self.skip(1);
        } else if first == '\'' {
            self.skip(char_or_lifetime_bytes(self.rest));
        } else if is_word_part(first) {
            self.word();
        } else if self.rest.starts_with("::") {
            self.push(TokenKind::Symbol, 2);
        } else if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else {
            self.push(TokenKind::Symbol, first.len_utf8());
        }
    }

    fn word(&mut self) {
        if self.rest.starts_with("r#") {
            self.skip(2);
        }
        self.push(TokenKind::Word, self.rest.find(|c| !is_word_part(c)).unwrap_or(self.rest.len()));
    }

    fn string(&mut self, delimiters: &Delimiters) {
        self.skip(delimiters.open_bytes);
        let close = delimiters.close.as_str();
        let end = if delimiters.raw { self.rest.find(close) } else { escaped_string_end(self.rest) };
        self.push(TokenKind::Text, end.unwrap_or(self.rest.len()));
        self.skip(close.len().min(self.rest.len()));
    }

    fn push(&mut self, kind: TokenKind, bytes: usize) {
        self.tokens.push(Token { kind, text: self.rest[..bytes].to_owned(), line: self.line });
        self.skip(bytes);
    }

    fn skip(&mut self, bytes: usize) {
        self.line += self.rest[..bytes].matches('\n').count();
        self.rest = &self.rest[bytes..];
    }
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a block comment, those within it included.
fn block_comment_bytes(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// What stands around a string literal.
struct Delimiters {
    open_bytes: usize,
    close: String,
    /// True: a backslash in it is a backslash.
    raw: bool,
}

impl Delimiters {
    /// Those of the string that begins here, if one does.
    fn of(rest: &str) -> Option<Self> {
        ["br", "cr", "r", "b", "c", ""].into_iter().find_map(|prefix| {
            let behind = rest.strip_prefix(prefix)?;
            let raw = prefix.ends_with('r');
            let hashes = if raw { behind.len() - behind.trim_start_matches('#').len() } else { 0 };
            behind[hashes..].starts_with('"').then(|| Self {
                open_bytes: prefix.len() + hashes + 1,
                close: format!("\"{}", "#".repeat(hashes)),
                raw,
            })
        })
    }
}

fn escaped_string_end(rest: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// The length of a character literal, or of the quote and the name of a lifetime.
fn char_or_lifetime_bytes(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let behind = at + escaped.len_utf8();
            rest[behind..].find('\'').map_or(rest.len(), |end| behind + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => rest[1..].find(|c| !is_word_part(c)).map_or(rest.len(), |end| end + 1),
    }
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["#", "!", "[", "cfg", "(", "test"]) {
            return Vec::new();
        }
        if is_test_attribute(&tokens[at..]) {
            at = item_end(&tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    starts_with(tokens, &["#", "[", "cfg", "(", "test", ")"])
        || starts_with(tokens, &["#", "[", "cfg", "(", "all", "(", "test"])
}

/// Whether the tokens begin with these texts; a string literal is never one of them.
pub(crate) fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len()
        && tokens.iter().zip(texts).all(|(token, text)| token.kind != TokenKind::Text && token.text == *text)
}

/// Where the item that begins at `at`, with its attributes, ends.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while starts_with(&tokens[at..], &["#", "["]) {
        at = group_end(tokens, at + 1);
    }
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            _ if tokens[at].kind != TokenKind::Symbol => at += 1,
            ";" => return at + 1,
            "{" => return group_end(tokens, at),
            "(" | "[" => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Behind the bracket that closes the one at `open`.
fn group_end(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == TokenKind::Symbol {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_characters_are_no_code() {
        let cases = [
            ("line comment", "a // b\nc", vec!["a", "c"]),
            ("nested block comment", "a /* b /* c */ d */ e", vec!["a", "e"]),
            ("quote as a character", "'\"' a '\\'' b b'\"' c", vec!["a", "b", "c"]),
            ("lifetime", "&'a str", vec!["&", "str"]),
            ("raw identifier", "r#async", vec!["async"]),
            ("path", "a::b", vec!["a", "::", "b"]),
        ];
        for (what, source, expected) in cases {
            assert_eq!(texts(source), expected, "{what}");
        }
    }

    #[test]
    fn strings_are_kept_apart() {
        let cases = [
            ("escaped quote", r#"f("a\"b", c)"#, r#"a\"b"#),
            ("raw with a backslash at its end", r##"f(r"a\", c)"##, r"a\"),
            ("raw with hashes", "f(r#\"a\"b\"#, c)", "a\"b"),
            ("bytes", "f(b\"a\", c)", "a"),
            ("raw bytes", "f(br\"a\\\", c)", "a\\"),
        ];
        for (what, source, expected) in cases {
            let found = tokens(source);
            assert_eq!(found[2].kind, TokenKind::Text, "{what}");
            assert_eq!(found[2].text, expected, "{what}");
            assert!(found.iter().any(|token| token.is_word("c")), "{what}: the code goes on behind it");
        }
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let found = tokens("/* 1\n2 */ \"3\n4\" // 4\nfive");
        assert_eq!(found.last().map(|token| token.line), Some(4));
    }

    #[test]
    fn tests_are_no_code() {
        let source = "a; #[cfg(test)] #[allow(x)] mod t { b; fn f() { c } } d; #[cfg(test)] use e; g";
        let file = File::planted("src/x.rs", source);
        let words: Vec<String> = code(&file).iter().map(|token| token.text.clone()).collect();
        assert_eq!(words, ["a", ";", "d", ";", "g"]);
        assert!(code(&File::planted("src/x/tests.rs", "a")).is_empty(), "a file of tests");
        assert!(code(&File::planted("src/x.rs", "#![cfg(test)] a")).is_empty(), "a module of tests");
    }
}
