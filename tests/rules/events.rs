//! Rule 4: handlers never publish. Events come only from a source's log.

use anyhow::Result;

use crate::objects::is_service;
use crate::paths::{paths, reaches};
use crate::repository::{File, Finding, expect_findings, refuse, rust_files};
use crate::tokens::{TokenKind, code};

/// What an event could leave an object through.
const CHANNELS: [&str; 6] = [
    "tokio::sync::broadcast",
    "tokio::sync::mpsc",
    "tokio::sync::watch",
    "tokio::sync::Notify",
    "std::sync::mpsc",
    "futures_util::channel",
];

const HEADS: &str = "crates/capabilities/audit/src/heads.rs";

fn publications(file: &File) -> Vec<Finding> {
    let tokens = code(file);
    let mut found = Vec::new();
    for named in paths(file, tokens) {
        if CHANNELS.iter().any(|channel| reaches(&named.path, channel)) {
            found.push(file.finding(named.line, format!("`{}`: the commit is the event", named.path)));
        }
    }
    for (at, token) in tokens.iter().enumerate() {
        let is_call = token.is_word("publish") && at > 0 && tokens[at - 1].is_symbol(".");
        let is_sender = token.kind == TokenKind::Word && token.text.ends_with("Sender");
        if is_call || is_sender {
            found.push(file.finding(token.line, format!("`{}`: the commit is the event", token.text)));
        }
    }
    found
}

#[test]
fn objects_publish_nothing() -> Result<()> {
    let files = rust_files("crates/")?.into_iter().filter(|file| is_service(&file.path));
    // What the daemon knows of the seals wakes those who wait for one; no event leaves by it.
    let files = files.filter(|file| file.path != HEADS);
    let found: Vec<Finding> = files.flat_map(|file| publications(&file)).collect();
    refuse(&found);
    Ok(())
}

#[test]
fn a_publication_is_found() {
    let path = "crates/capabilities/peers/src/lib.rs";
    expect_findings(
        publications,
        &[
            ("broadcast", path, "use tokio::sync::broadcast;", 1),
            ("channel in place", path, "fn f() { tokio::sync::mpsc::channel(1); }", 1),
            ("channel through its module", path, "use tokio::sync; fn f() { sync::watch::channel(1); }", 1),
            ("sender", path, "fn f(events: &EventSender) {}", 1),
            ("call", path, "fn f(bus: &Bus) { bus.publish(event); }", 1),
            ("a watch of the registry", path, "fn f() { registry.watch(filter) }", 0),
            ("prose", path, "// broadcast::Sender\n", 0),
        ],
    );
}
