//! One function makes text of errors that may be another's: `omnirelay_core::text::chain`.

use anyhow::Result;

use crate::repository::{File, Finding, expect_findings, refuse, rust_files};
use crate::tokens::{Token, TokenKind, code, starts_with};

/// Where that function is.
const HOME: &str = "crates/core/src/foreign_errors.rs";
/// What makes code and is not part of a program.
const TOOLS: &str = "crates/codegen/";
/// What errors are called.
const NAMES: [&str; 5] = ["error", "err", "source", "cause", "e"];
/// Whose errors are not ours.
const FOREIGN: [&str; 17] = [
    "h2",
    "h3",
    "hyper",
    "io",
    "pem",
    "prost",
    "quinn",
    "rcgen",
    "redb",
    "redis",
    "reqwest",
    "rustls",
    "serde_json",
    "serde_saphyr",
    "serde_yaml",
    "url",
    "webpki",
];

fn texts_made_elsewhere(file: &File) -> Vec<Finding> {
    if file.path == HOME || file.is_below(TOOLS) {
        return Vec::new();
    }
    let tokens = code(file);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let (token, rest) = (&tokens[at], &tokens[at..]);
        let is_named = NAMES.iter().any(|name| token.is_word(name));
        let is_field = at > 0 && tokens[at - 1].is_symbol(".");
        if is_named && !is_field && starts_with(&rest[1..], &[".", "to_string", "(", ")"]) {
            found.push(file.finding(token.line, format!("`{}.to_string()`: use `chain`", token.text)));
        }
        if token.kind == TokenKind::Text
            && NAMES.iter().any(|name| token.text.contains(&format!("{{{name}:?}}")))
        {
            found.push(
                file.finding(token.line, "what `{:?}` makes of an error is for programmers: use `chain`"),
            );
        }
        if let Some(variant) = foreign_in_text(rest) {
            let what = format!("`{variant}` has the text of a foreign error in its own: make it the source");
            found.push(file.finding(token.line, what));
        }
    }
    found
}

/// The variant behind `#[error("... {0}")]` whose field is a foreign error.
fn foreign_in_text(tokens: &[Token]) -> Option<&str> {
    let [mark, open, text, close, end, variant, brace, rest @ ..] = tokens else { return None };
    let is_said = mark.is_word("error")
        && open.is_symbol("(")
        && text.kind == TokenKind::Text
        && text.text.contains("{0")
        && close.is_symbol(")")
        && end.is_symbol("]")
        && brace.is_symbol("(");
    // Past `#[from]` or `#[source]`.
    let field = if starts_with(rest, &["#", "["]) { rest.get(4..)? } else { rest };
    let [of, path, ..] = field else { return None };
    let is_foreign = path.is_symbol("::") && FOREIGN.iter().any(|name| of.is_word(name));
    (is_said && is_foreign).then_some(variant.text.as_str())
}

#[test]
fn foreign_errors_are_told_by_one_function() -> Result<()> {
    let sources = rust_files("src/")?.into_iter().chain(rust_files("crates/")?);
    refuse(&sources.flat_map(|file| texts_made_elsewhere(&file)).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn texts_that_are_made_elsewhere_are_found() {
    let path = "src/a.rs";
    expect_findings(
        texts_made_elsewhere,
        &[
            ("its Display", path, "fn f() { g().map_err(|error| error.to_string()) }", 1),
            ("its Debug", path, "fn f() { format!(\"cannot: {error:?}\") }", 1),
            ("in a variant", path, "enum E { #[error(\"no: {0}\")] A(rcgen::Error) }", 1),
            ("as its source too", path, "enum E { #[error(\"no: {0}\")] A(#[from] io::Error) }", 1),
            ("as its source alone", path, "enum E { #[error(\"no\")] A(#[source] io::Error) }", 0),
            ("one of ours", path, "enum E { #[error(\"no: {0}\")] A(#[from] KeyError) }", 0),
            ("something else", path, "fn f() { name.to_string() }", 0),
            ("a field", path, "fn f() { body.error.to_string() }", 0),
            ("by the function", path, "fn f() { g().map_err(|error| chain(&error)) }", 0),
            ("the function", HOME, "fn f() { error.to_string() }", 0),
            ("a test", path, "#[cfg(test)] mod tests { fn f() { error.to_string(); } }", 0),
        ],
    );
}
