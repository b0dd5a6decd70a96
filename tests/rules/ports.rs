//! Rule 2: ports know no objects, objects know no backend.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::objects::{is_service, kinds_declared};
use crate::paths::{paths, reaches};
use crate::repository::{File, Finding, expect_findings, program, refuse, rust_files, some_rust_files};
use crate::tokens::{Token, TokenKind, code};

/// The messages of objects; their operations are in a crate that no port can name.
const OBJECT_PATHS: [&str; 3] = [
    "omnirelay_wire::pb::omnirelay::mesh",
    "omnirelay_wire::pb::omnirelay::security",
    "omnirelay_wire::pb::omnirelay::dev",
];

/// The backends and the crates they stand on.
const BACKEND_PATHS: [&str; 5] =
    ["omnirelay_store::memory", "omnirelay_store::embedded", "omnirelay_store::redis", "redb", "redis"];

/// The objects that `file`, a port or its carrier, names: by path, by kind, or by the type of a value.
fn objects_named(file: &File, kinds: &BTreeSet<String>) -> Vec<Finding> {
    let tokens = code(file);
    let values: Vec<String> = kinds.iter().map(|kind| value_type(kind)).collect();
    let is_object = |token: &Token| match token.kind {
        TokenKind::Text => kinds.contains(&token.text),
        TokenKind::Word => values.contains(&token.text),
        TokenKind::Symbol => false,
    };
    let words = tokens.iter().filter(|token| is_object(token)).map(|token| (token.line, token.text.clone()));
    let named = paths(file, tokens).into_iter().filter(|named| reaches_any(&named.path, &OBJECT_PATHS));
    words
        .chain(named.map(|named| (named.line, named.path)))
        .map(|(line, what)| file.finding(line, format!("`{what}`: a port knows no object")))
        .collect()
}

/// The backends that `file`, an object, names.
fn backends_named(file: &File) -> Vec<Finding> {
    paths(file, code(file))
        .into_iter()
        .filter(|named| reaches_any(&named.path, &BACKEND_PATHS))
        .map(|named| file.finding(named.line, format!("`{}`: an object knows no backend", named.path)))
        .collect()
}

fn reaches_any(path: &str, targets: &[&str]) -> bool {
    targets.iter().any(|target| reaches(path, target))
}

/// The message that holds the value of a record: `peer` is a `PeerValue`.
fn value_type(kind: &str) -> String {
    let words = kind.split(['_', '-']).map(|word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    });
    words.collect::<String>() + "Value"
}

fn known_kinds() -> Result<BTreeSet<String>> {
    let declared = program()?.iter().flat_map(kinds_declared).collect::<Vec<_>>();
    let known = declared.into_iter().map(|(_, kind)| kind);
    Ok(known.chain(["peer", "audit"].map(str::to_owned)).collect())
}

#[test]
fn ports_know_no_object() -> Result<()> {
    let kinds = known_kinds()?;
    let mut ports = rust_files("crates/store/")?;
    ports.extend(some_rust_files("crates/node/src/transport/")?);
    let found: Vec<Finding> = ports.iter().flat_map(|file| objects_named(file, &kinds)).collect();
    refuse(&found);
    Ok(())
}

#[test]
fn objects_know_no_backend() -> Result<()> {
    let files = rust_files("crates/")?.into_iter().filter(|file| is_service(&file.path));
    let found: Vec<Finding> = files.flat_map(|file| backends_named(&file)).collect();
    refuse(&found);
    Ok(())
}

#[test]
fn an_object_in_a_port_is_found() {
    let kinds = BTreeSet::from(["peer".to_owned(), "shard_map".to_owned()]);
    let path = "crates/store/src/embedded.rs";
    expect_findings(
        |file| objects_named(file, &kinds),
        &[
            ("its messages", path, "use omnirelay_wire::pb::omnirelay::mesh::control::v1::Peer;", 1),
            ("its kind", path, "if id.kind.0 == \"peer\" { return; }", 1),
            ("its value", path, "fn f(v: PeerValue, m: ShardMapValue) {}", 2),
            ("prose", path, "/// Such as `peer`.\nconst A: &str = \"a peer\";", 0),
            ("a test", path, "#[cfg(test)] mod tests { const K: &str = \"peer\"; }", 0),
        ],
    );
}

#[test]
fn a_backend_in_an_object_is_found() {
    let path = "crates/capabilities/peers/src/lib.rs";
    expect_findings(
        backends_named,
        &[
            ("import", path, "use omnirelay_store::memory::MemoryStore;", 1),
            ("import in a tree", path, "use omnirelay_store::{Version, embedded};", 1),
            ("its crate", path, "fn f() { redis::cmd(\"GET\"); }", 1),
            ("the port", path, "use omnirelay_store::{RecordKind, Version};", 0),
            ("a test", path, "#[cfg(test)] mod tests { use omnirelay_store::memory; }", 0),
        ],
    );
}
