//! Secrets that a text may hold, and the text without them, where strangers are to read it.

use core::net::{IpAddr, SocketAddr};

/// What stands in the place of what could be a secret.
pub const HIDDEN: &str = "***";

/// The scheme of ids of nodes and services, which are all path and no secret.
const SPIFFE: &str = "spiffe";

/// Words that are shorter are no secrets: they could be guessed.
const SECRET_CHARS_MIN: usize = 12;
/// From so many letters on, capitals and small letters are hidden as well where there is no digit: base64 has both.
const MIXED_CHARS_MIN: usize = 20;
/// The longest time there is, with nanoseconds.
const TIME_CHARS_MAX: usize = 30;

/// A text in which nothing is left of URLs but their schemes and hosts: all else of a URL may be a password.
pub fn with_bare_urls(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    text.split_inclusive(char::is_whitespace).map(|piece| within(piece, bare_url)).collect()
}

/// A text without what could be a secret: its URLs are bare, and words that may be made by chance are hidden. It hides long names
/// with digits in them as well, so it is for what programs say in words, and not for names.
pub fn without_secrets(text: &str) -> String {
    let bare = with_bare_urls(text);
    bare.split_inclusive(char::is_whitespace).map(|piece| within(piece, hidden_parts)).collect()
}

/// Tells the word of `piece` otherwise, and leaves the blanks around it.
fn within(piece: &str, told: impl Fn(&str) -> String) -> String {
    let word = piece.trim_end();
    format!("{}{}", told(word), &piece[word.len()..])
}

/// `redis://me:hunter2@a:1/0?b` becomes `redis://a:1/***`; what is not understood is hidden.
fn bare_url(word: &str) -> String {
    let Some((before, rest)) = word.split_once("://") else { return word.to_owned() };
    let is_of_scheme = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.');
    let begins = before.trim_end_matches(is_of_scheme).len();
    let (prefix, scheme) = before.split_at(begins);
    let url = rest.trim_end_matches(['"', '\'', '`', ')', '}', '>', ',', ';', '.', ':']);
    let (rest, tail) = rest.split_at(url.len());
    let prefix = if prefix.contains('@') { HIDDEN } else { prefix };
    let shown = if scheme == SPIFFE && is_name(rest) { rest.to_owned() } else { shown_hosts(rest) };
    format!("{prefix}{scheme}://{shown}{tail}")
}

/// Whether it has nothing but names between slashes.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
}

fn shown_hosts(rest: &str) -> String {
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    // A password may hold what ends an authority.
    if behind.contains('@') || behind.contains("://") || !hosts.split(',').all(is_host) {
        return HIDDEN.to_owned();
    }
    match behind {
        "" | "/" => hosts.to_owned(),
        _ => format!("{hosts}/{HIDDEN}"),
    }
}

/// Whether it looks like a host, with a number as its port if it has one.
fn is_host(text: &str) -> bool {
    let is_named = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<SocketAddr>().is_ok()
        || text
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<IpAddr>().is_ok())
        || text.split_once(':').map_or(is_named(text), |(host, port)| is_named(host) && is_port(port))
}

/// Each item of a list, and each side of a pair, is judged as a whole: a password may hold what stands around words elsewhere.
fn hidden_parts(word: &str) -> String {
    if is_address(word) {
        return word.to_owned();
    }
    let stands_around = |letter: char| "\"'`(){}<>[],;=|&?".contains(letter);
    let pieces = word.split_inclusive([',', '=']);
    pieces
        .map(|piece| {
            let part = piece.trim_matches(stands_around);
            if may_be_secret(part) { piece.replacen(part, HIDDEN, 1) } else { piece.to_owned() }
        })
        .collect()
}

fn is_address(word: &str) -> bool {
    let word = word.trim_matches(['"', '\'', '`', '(', ')', ',', ';', '.', ':']);
    word.parse::<SocketAddr>().is_ok() || word.parse::<IpAddr>().is_ok()
}

/// Whether it is a time such as `2026-11-20T06:00:00Z`.
fn is_time(word: &str) -> bool {
    let is_of_time = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'T' | b'Z');
    word.len() <= TIME_CHARS_MAX && word.starts_with("20") && word.bytes().all(is_of_time)
}

/// Whether a word is long, and of a kind of which words of a language are not.
fn may_be_secret(word: &str) -> bool {
    let has = |is: fn(&u8) -> bool| word.bytes().any(|byte| is(&byte));
    let (digits, letters) = (has(u8::is_ascii_digit), has(u8::is_ascii_alphabetic));
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let is_odd = digits && (letters || word.contains('%')) || word.contains('%') || word.contains('+');
    word.chars().count() >= SECRET_CHARS_MIN && !is_address(word) && !is_time(word) && is_odd
        || word.chars().count() >= MIXED_CHARS_MIN && mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_the_scheme_and_the_hosts_are_left() {
        let cases = [
            ("a password", "redis://me:hunter2@a:1/0?b=c", "redis://a:1/***"),
            ("a token as a user", "see https://hunter2@host.", "see https://host."),
            (
                "a path",
                "POST https://hooks.example/T0/B0/hunter2 failed",
                "POST https://hooks.example/*** failed",
            ),
            ("a query", "(https://host?password=hunter2)", "(https://host/***)"),
            ("a slash in a password", "redis://me:hun/ter2@c", "redis://***"),
            ("no host", "redis://:hunter2", "redis://***"),
            ("no number for a port", "redis://me:hunter2", "redis://***"),
            ("two in a word", "a://b,c://u:hunter2@d", "a://***"),
            ("several hosts", "redis://a:1,[::1]:7,[fd00::1]/2", "redis://a:1,[::1]:7,[fd00::1]/***"),
            ("behind a name", "url=https://u:hunter2@h/x", "url=https://h/***"),
            ("a user before it", "hunter2@https://h", "***https://h"),
            ("an id", "id: spiffe://mesh.local/node/node-1;", "id: spiffe://mesh.local/node/node-1;"),
            ("no id", "spiffe://u:hunter2@mesh.local/node", "spiffe://mesh.local/***"),
            ("none", "node-1 of 127.0.0.1:17420", "node-1 of 127.0.0.1:17420"),
        ];
        for (what, text, shown) in cases {
            assert_eq!(with_bare_urls(text), shown, "{what}");
        }
    }

    #[test]
    fn words_made_by_chance_are_hidden_and_those_of_a_language_are_not() {
        let cases = [
            ("a sentence", "connection refused (os error 111)", "connection refused (os error 111)"),
            (
                "an address",
                "no answer of [fd00::12:1]:17420, 10.0.200.17:17420",
                "no answer of [fd00::12:1]:17420, 10.0.200.17:17420",
            ),
            ("a password", "password=planted-7-secret wrong", "password=*** wrong"),
            ("base64", "got \"cGxhbnRlZHNlY3JldHdpdGhvdXQ\"", "got \"***\""),
            ("hexadecimal", "706c616e7465642d73", "***"),
            ("percent-encoded", "planted%2Dsecret", "***"),
            (
                "a time",
                "led since 2026-11-30T08:47:25Z, in term 1",
                "led since 2026-11-30T08:47:25Z, in term 1",
            ),
            ("a URL and a word", "https://u:p@h/x planted-7-secret", "https://h/*** ***"),
            ("long words", "unauthenticated: misconfiguration", "unauthenticated: misconfiguration"),
        ];
        for (what, text, shown) in cases {
            assert_eq!(without_secrets(text), shown, "{what}");
        }
    }
}
