//! Error texts of foreign libraries, in words for whoever runs the mesh.
//!
//! Libraries write their errors for programmers: with the names of their types, with what `{:?}` makes of them, and with the
//! text of a cause in that of what it caused. Everything in this workspace that makes text of an error which may be another's
//! does so by [`chain`]; `tests/rules/foreign_errors.rs` holds that.

use std::error::Error;

/// What libraries say, and what it means.
const WORDS: &[(&str, &str)] = &[
    ("EOF while parsing an object", "it ends within an object"),
    ("EOF while parsing a list", "it ends within a list"),
    ("EOF while parsing a string", "it ends within a text"),
    ("EOF while parsing a value", "it ends where a value should stand"),
    ("trailing characters", "something stands behind its end"),
    ("key must be a string", "a name in it is no text in quotes"),
    ("invalid type: unit value", "nothing is there"),
    ("invalid type: null", "nothing is there"),
    ("invalid type: map", "a group of values is there"),
    ("invalid type: sequence", "a list is there"),
    ("expected a map", "expected names with values"),
    ("expected a sequence", "expected a list"),
    ("stream did not contain valid UTF-8", "it is not UTF-8"),
    (
        "invalid socket address syntax",
        "it is no address: write HOST:PORT, with the address of a host in numbers",
    ),
    ("expected mapping start", "names with values are wanted here"),
    ("expected sequence start", "a list is wanted here"),
    ("unclosed bracket '{'", "a brace is opened and not closed"),
    ("unclosed bracket '['", "a bracket is opened and not closed"),
    ("unclosed quote", "a quote is opened and not closed"),
    ("tabs disallowed within this context (block indentation)", "a tab stands where blanks are wanted"),
    (
        "while parsing a block mapping, did not find expected key",
        "the line is indented otherwise than those that it stands among",
    ),
    (
        "invalid indentation in multiline quoted scalar",
        "a quote is opened and not closed, or its text is not indented",
    ),
    ("cannot deserialize null into string; use Option<String>", "a text is wanted here"),
    ("alias references unknown anchor", "`*NAME` stands for nothing here: write it in quotes"),
    (", set DuplicateKeyPolicy in Options if acceptable", ""),
    ("duplicate mapping key:", "a name stands there twice:"),
    ("did not find expected <document start>", "something stands behind its end"),
    ("while scanning", "in"),
    ("while parsing", "in"),
    ("did not find expected", "there is no"),
    ("scalar", "text"),
];
/// Names of types that say nothing of what happened.
const EMPTY: [&str; 9] = ["Some", "None", "Ok", "Err", "Error", "Other", "OtherError", "Custom", "Os"];

/// The error and all its causes, joined: each once, and without what only those can read who know its code.
pub fn chain(error: &dyn Error) -> String {
    causes(error).join(": ")
}

/// The same in parts: what was being done, then what came in between, then what happened.
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        let part = plain(&error.to_string());
        // Many name their cause, and have it as their source as well.
        let bare = part.split(" at line ").next().unwrap_or_default();
        if part.is_empty() || parts.iter().any(|before| before.contains(bare)) {
            continue;
        }
        match parts.last_mut() {
            Some(last) if part.starts_with(last.as_str()) => *last = part,
            Some(_) | None => parts.push(part),
        }
    }
    parts
}

/// What one error says.
fn plain(text: &str) -> String {
    // What is behind the arrow shows the place once more, and says the same once more.
    let lines: Vec<_> = text.lines().take_while(|line| !line.trim_start().starts_with("-->")).collect();
    let mut text = lines.join("\n").trim_end().to_owned();
    if let Some(bare) = text.strip_prefix("error: ") {
        text = bare.to_owned();
    }
    if let Some((place, _)) = text.split_once("unexpected character: `") {
        text = format!("{place}a character that may not stand there, unless in quotes");
    }
    text = in_words(&text);
    if let Some(form) = debug_form(&text) {
        let before = text[..form.begins].trim_end_matches([' ', ':', ',']);
        let inner = form.says(&text);
        return match (before.is_empty(), inner.is_empty()) {
            (_, true) => before.to_owned(),
            (true, false) => inner,
            (false, false) => format!("{before}: {inner}"),
        };
    }
    match text.rsplit_once(": ") {
        Some((before, last)) if is_type_name(last) => format!("{before}: {}", words(last)),
        None if is_type_name(&text) => words(&text),
        Some(_) | None => text,
    }
}

/// With [`WORDS`] put in. What stands between backticks is somebody's, such as a path, and stays.
fn in_words(text: &str) -> String {
    let pieces: Vec<&str> = text.split('`').collect();
    let mut told = String::with_capacity(text.len());
    for (at, piece) in pieces.iter().enumerate() {
        let (is_behind_one, is_last) = (at % 2 == 1, at + 1 == pieces.len());
        match (*piece, is_behind_one && !is_last) {
            ("{", true) => told.push_str("an opening brace"),
            ("}", true) => told.push_str("a closing brace"),
            (quoted, true) => told.extend(["`", quoted, "`"]),
            (bare, false) => {
                // One that is opened and not closed.
                if is_behind_one {
                    told.push('`');
                }
                let put = |bare: String, (said, means): &(&str, &str)| bare.replace(said, means);
                told.push_str(&WORDS.iter().fold(bare.to_owned(), put));
            }
        }
    }
    told
}

/// Form that `{:?}` gives a value, found within a text.
struct DebugForm {
    /// The name of the type or variant.
    begins: usize,
    name_ends: usize,
}

impl DebugForm {
    /// What can be read of it: the first text in it, else what it is called, if that is anything.
    fn says(&self, text: &str) -> String {
        let quoted = text[self.name_ends..].split('"').nth(1).filter(|quoted| quoted.contains(' '));
        let name = &text[self.begins..self.name_ends];
        match quoted {
            Some(quoted) => quoted.to_owned(),
            None if EMPTY.contains(&name) => String::new(),
            None => words(name),
        }
    }
}

/// The first name of a type with its fields behind it: `Name(`, `Name {`.
fn debug_form(text: &str) -> Option<DebugForm> {
    let (backticks, mut passed) = (text.matches('`').count(), 0);
    text.match_indices(['(', '{', '`']).find_map(|(at, bracket)| {
        if bracket == "`" {
            passed += 1;
            return None;
        }
        // Between two of them stands what is somebody's.
        if passed % 2 == 1 && passed < backticks {
            return None;
        }
        let name_ends = if bracket == "{" { text[..at].trim_end_matches(' ').len() } else { at };
        let name = text[..name_ends].rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
        let begins = name_ends - name.len();
        // What stands in quotes was written by somebody.
        let is_quoted = text[..begins].ends_with(['`', '"', '\'']);
        let is_type = !is_quoted
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.contains(|c: char| c.is_ascii_lowercase());
        is_type.then_some(DebugForm { begins, name_ends })
    })
}

/// Whether a text is the name of a variant alone, of two words at least: `UnknownIssuer`.
fn is_type_name(text: &str) -> bool {
    let capitals = text.chars().filter(char::is_ascii_uppercase).count();
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric())
        && text.contains(|c: char| c.is_ascii_lowercase())
        && capitals >= 2
        && !text.as_bytes().windows(2).any(|two| two.iter().all(u8::is_ascii_uppercase))
}

/// `UnknownIssuer` is `unknown issuer`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    for c in name.strip_suffix("Context").unwrap_or(name).chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct TextError(&'static str, Option<Box<TextError>>);

    impl fmt::Display for TextError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for TextError {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    fn told(texts: &[&'static str]) -> String {
        let error = texts.iter().rev().fold(None, |source, text| Some(Box::new(TextError(text, source))));
        chain(&*error.unwrap())
    }

    #[test]
    fn a_cause_is_told_once_whoever_repeats_it() {
        let cases: [(&[&str], &str); 6] = [
            (&["cannot read `a`", "permission denied"], "cannot read `a`: permission denied"),
            (&["cannot connect: no route", "no route", "no route"], "cannot connect: no route"),
            (&["tcp", "tcp: no route"], "tcp: no route"),
            (&["line 1 column 7: no list", "no list at line 1, column 7"], "line 1 column 7: no list"),
            (&["a", "", "b"], "a: b"),
            (&["no route to a", "no route"], "no route to a"),
        ];
        for (texts, expected) in cases {
            assert_eq!(told(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn what_only_programmers_read_is_left_out_or_put_into_words() {
        let cases = [
            ("invalid peer certificate: UnknownIssuer", "invalid peer certificate: unknown issuer"),
            (
                "UnsupportedSignatureAlgorithmContext(A { id: [1, 2], all: [] })",
                "unsupported signature algorithm",
            ),
            ("it is not valid: Other(OtherError(Some(7)))", "it is not valid"),
            (
                "cannot open: Os { code: 2, kind: NotFound, message: \"No such file or directory\" }",
                "cannot open: No such file or directory",
            ),
            ("Custom { kind: Other, error: \"no luck\" }", "no luck"),
            ("a list of ours:\n  one\n  two\n", "a list of ours:\n  one\n  two"),
            (
                "error: line 1 column 7: unclosed bracket '{'\n --> <input>:1:7\n  |\n1 | node: {role: x\n  |       ^ unclosed\n",
                "line 1 column 7: a brace is opened and not closed",
            ),
            ("expected `,` or `}` at line 1 column 7", "expected `,` or a closing brace at line 1 column 7"),
            ("No such file or directory (os error 2)", "No such file or directory (os error 2)"),
            ("OpenSSL", "OpenSSL"),
            ("`Scope(1)` is no scope", "`Scope(1)` is no scope"),
            ("cannot read `/srv/Mesh(1)/ca.pem`", "cannot read `/srv/Mesh(1)/ca.pem`"),
            ("while parsing `while parsing/scalar`, a scalar", "in `while parsing/scalar`, a text"),
            ("`Mesh(1)` is none: Other(2)", "`Mesh(1)` is none"),
            ("one ` alone: scalar", "one ` alone: text"),
            ("cannot reach Redis", "cannot reach Redis"),
            ("write {url, cluster}", "write {url, cluster}"),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected, "{text}");
        }
    }
}
