//! What is left for later does not come in, and a test that is not run says why.

use anyhow::Result;

use crate::repository::{File, Finding, expect_findings, files, refuse};
use crate::tokens::{starts_with, tokens};

const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

fn unfinished(file: &File) -> Vec<Finding> {
    let tokens = tokens(&file.text);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let (token, rest) = (&tokens[at], &tokens[at..]);
        if MACROS.iter().any(|name| starts_with(rest, &[name, "!"])) {
            found.push(file.finding(token.line, format!("`{}!` is for work in progress", token.text)));
        }
        if starts_with(rest, &["#", "[", "ignore", "]"]) {
            found.push(file.finding(token.line, "`#[ignore]` gives no reason: `#[ignore = \"...\"]`"));
        }
    }
    found
}

#[test]
fn nothing_is_left_for_later() -> Result<()> {
    let sources = files()?.into_iter().filter(|file| file.path.ends_with(".rs"));
    refuse(&sources.flat_map(|file| unfinished(&file)).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn unfinished_work_is_found() {
    let path = "src/a.rs";
    expect_findings(
        unfinished,
        &[
            ("macro", path, "fn f() { todo!() }", 1),
            ("macro in a test", path, "#[cfg(test)] mod tests { fn f() { dbg!(1); } }", 1),
            ("ignored without a reason", path, "#[test] #[ignore] fn f() {}", 1),
            ("ignored with a reason", path, "#[test] #[ignore = \"an hour long\"] fn f() {}", 0),
            ("prose", path, "// todo!\nconst A: &str = \"todo!\"; fn todo() {}", 0),
        ],
    );
}
