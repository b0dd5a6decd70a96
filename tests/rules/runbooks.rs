//! A message of the log that names a runbook stands in that runbook.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::repository::{File, Finding, files, program, refuse};
use crate::tokens::{Token, TokenKind, code};

const FOLDER: &str = "docs/runbooks/";
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// A call of a log macro, its tokens between the brackets.
fn calls(tokens: &[Token]) -> Vec<&[Token]> {
    let starts = (0..tokens.len().saturating_sub(2)).filter(|at| {
        let is_level = LEVELS.iter().any(|level| tokens[*at].is_word(level));
        is_level && tokens[at + 1].is_symbol("!") && tokens[at + 2].is_symbol("(")
    });
    starts
        .map(|at| {
            let inner = &tokens[at + 3..];
            let mut depth = 1;
            let end = inner.iter().position(|token| {
                depth += i32::from(token.is_symbol("(")) - i32::from(token.is_symbol(")"));
                depth == 0
            });
            &inner[..end.unwrap_or(inner.len())]
        })
        .collect()
}

/// The constants that hold the path of a runbook.
fn runbooks(sources: &[File]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in sources {
        let tokens = code(file);
        for (at, token) in tokens.iter().enumerate() {
            if token.kind != TokenKind::Text || !token.text.starts_with(FOLDER) {
                continue;
            }
            let before = &tokens[at.saturating_sub(7)..at];
            let name = before.iter().rposition(|token| token.is_word("const"));
            if let Some(name) = name.and_then(|at| before.get(at + 1)) {
                found.insert(name.text.clone(), token.text.clone());
            }
        }
    }
    found
}

/// What follows `runbook =` in a call: a constant or a path.
fn named<'a>(call: &'a [Token], runbooks: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let at = call.iter().position(|token| token.is_word("runbook"))?;
    let value = call.get(at + 2).filter(|_| call[at + 1].is_symbol("="))?;
    Some(runbooks.get(&value.text).map_or(value.text.as_str(), String::as_str))
}

fn untold(sources: &[File], documents: &[File]) -> Vec<Finding> {
    let runbooks = runbooks(sources);
    let mut found = Vec::new();
    for file in sources {
        let tokens = code(file);
        for call in calls(tokens) {
            let Some(path) = named(call, &runbooks) else { continue };
            let message = call.iter().rfind(|token| token.kind == TokenKind::Text);
            let Some(message) = message else {
                found.push(
                    file.finding(call[0].line, "names a runbook and has no constant text to find in it"),
                );
                continue;
            };
            match documents.iter().find(|document| document.path == path) {
                Some(document) if document.text.contains(&message.text) => {}
                Some(_) => {
                    found.push(
                        file.finding(message.line, format!("`{}` does not stand in {path}", message.text)),
                    );
                }
                None => found.push(file.finding(message.line, format!("there is no runbook `{path}`"))),
            }
        }
    }
    found
}

#[test]
fn messages_that_name_a_runbook_stand_in_it() -> Result<()> {
    let sources = program()?;
    anyhow::ensure!(!runbooks(&sources).is_empty(), "no constant names a runbook");
    let documents: Vec<File> = files()?.into_iter().filter(|file| file.is_below(FOLDER)).collect();
    refuse(&untold(&sources, &documents));
    Ok(())
}

#[test]
fn a_message_that_its_runbook_does_not_have_is_found() {
    let constant = "pub const RUNBOOK: &str = \"docs/runbooks/a.md\";\n";
    let documents = [File::planted("docs/runbooks/a.md", "When it says `lease was lost`.")];
    let cases = [
        ("as it should be", "fn f() { warn!(scope = of(x), runbook = RUNBOOK, \"lease was lost\"); }", 0),
        ("another text", "fn f() { warn!(runbook = RUNBOOK, \"lease was found\"); }", 1),
        ("through its path", "fn f() { tracing::error!(runbook = RUNBOOK, \"gone\"); }", 1),
        ("no text", "fn f() { warn!(runbook = RUNBOOK, scope); }", 1),
        ("another file", "fn f() { warn!(runbook = \"docs/runbooks/b.md\", \"lease was lost\"); }", 1),
        ("no runbook", "fn f() { warn!(scope, \"anything\"); }", 0),
        ("not the log", "fn f() { format!(runbook = RUNBOOK, \"anything\"); }", 0),
    ];
    for (what, text, expected) in cases {
        let sources = [File::planted("src/a.rs", &format!("{constant}{text}"))];
        let found = untold(&sources, &documents);
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
