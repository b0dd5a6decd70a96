//! Rule 1: `core` decides. It has no async, no clock, no I/O and no randomness of its own.

use anyhow::Result;

use crate::paths::{paths, reaches};
use crate::repository::{File, Finding, expect_findings, program, refuse, rust_files};
use crate::tokens::code;

/// Where core stands: what knows no message, what is decided of messages, and who is alive.
const FOLDERS: [&str; 3] = ["crates/core/src/", "crates/decisions/src/", "crates/membership/src/"];

const LINTS: [&str; 2] = ["clippy::disallowed_methods", "clippy::disallowed_types"];

/// What `core` may not name, and what it does instead.
const BANNED: [(&str, &str); 14] = [
    ("tokio", "core does not wait"),
    ("futures_util", "core does not wait"),
    ("std::future", "core does not wait"),
    ("std::net", "core does no I/O"),
    ("std::fs", "core does no I/O"),
    ("std::io", "core does no I/O"),
    ("std::process", "core does no I/O"),
    ("std::env", "core takes its settings as arguments"),
    ("std::thread", "core starts nothing"),
    ("std::time::Instant", "core takes the time as an argument"),
    ("std::time::SystemTime", "core takes the time as an argument"),
    ("rand", "core takes a seeded generator as an argument"),
    ("getrandom", "core takes a seeded generator as an argument"),
    ("omnirelay_sdk", "core knows nobody that calls it"),
];

/// The parts of the program that call `core`, of which its manifests name none either.
const CALLERS: [&str; 4] = ["omnirelay_node", "omnirelay_cli", "omnirelay_registry", "omnirelay_store"];

fn impure(file: &File) -> Vec<Finding> {
    let tokens = code(file);
    let mut found = Vec::new();
    for token in tokens {
        if token.is_word("async") || token.is_word("await") {
            found.push(file.finding(token.line, format!("`{}`: core does not wait", token.text)));
        }
    }
    for named in paths(file, tokens) {
        let banned = BANNED.iter().find(|(target, _)| reaches(&named.path, target)).map(|(_, why)| *why);
        let calls = CALLERS.iter().any(|target| reaches(&named.path, target));
        if let Some(why) = banned.or(calls.then_some("core knows nobody that calls it")) {
            found.push(file.finding(named.line, format!("`{}`: {why}", named.path)));
        }
    }
    found
}

#[test]
fn core_only_decides() -> Result<()> {
    for folder in FOLDERS {
        refuse(&rust_files(folder)?.iter().flat_map(impure).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn core_denies_the_lints_of_purity() -> Result<()> {
    let is_root = |path: &str| {
        FOLDERS.iter().any(|folder| path == format!("{folder}lib.rs") || path == format!("{folder}mod.rs"))
    };
    let roots: Vec<File> = program()?.into_iter().filter(|file| is_root(&file.path)).collect();
    anyhow::ensure!(roots.len() == FOLDERS.len(), "the roots of core were not found");
    for (root, lint) in roots.iter().flat_map(|root| LINTS.map(|lint| (root, lint))) {
        anyhow::ensure!(
            root.text.contains("#![deny(") && root.text.contains(lint),
            "{} does not deny {lint}",
            root.path
        );
    }
    Ok(())
}

#[test]
fn impurity_is_found() {
    let path = "crates/decisions/src/lease.rs";
    expect_findings(
        impure,
        &[
            ("import", path, "use tokio::time::sleep;", 1),
            ("import in a tree", path, "use std::{fmt, net::{IpAddr, TcpStream}};", 2),
            ("clock through its module", path, "use std::time; fn f() { let _ = time::Instant::now(); }", 1),
            ("clock under another name", path, "use std::time::SystemTime as T; fn f(_: T) {}", 2),
            ("glob", path, "use std::time::*;", 1),
            ("path in place", path, "fn f() { std::thread::yield_now(); }", 1),
            ("randomness", path, "fn f() -> u8 { rand::random() }", 1),
            ("the daemon", path, "use omnirelay_store::Store;", 1),
            ("the registry", path, "fn f() { omnirelay_registry::view::View::new(); }", 1),
            ("the command line", path, "use omnirelay_cli::frame;", 1),
            ("async", path, "async fn f() {}", 1),
            ("await", path, "fn f() { g().await; }", 1),
            ("time as a value", path, "use std::time::Duration; use super::time::Millis;", 0),
            ("prose", path, "// tokio::spawn\n/// async\nconst A: &str = \"std::fs::read\";", 0),
            ("a test", path, "#[cfg(test)] mod tests { use std::fs; }", 0),
        ],
    );
}
