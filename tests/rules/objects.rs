//! Rule 3: an object writes only under its own kind.
//!
//! Who can name a kind can write under it. So every kind is declared once, in the file of its
//! object (that of the audit trail, the one exception, beside the code that adds it), and the
//! declaration is of no use to another object.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::paths::paths;
use crate::repository::{File, Finding, expect_findings, refuse, rust_files};
use crate::tokens::{TokenKind, code, starts_with};

pub const OBJECTS: &str = "src/daemon/objects/";

/// Declares the kind of the records that every mutation leaves.
const AUDIT: &str = "src/daemon/audit.rs";

/// The kinds that `file` declares with `Kind::of("...")`, and on which lines.
pub fn kinds_declared(file: &File) -> Vec<(usize, String)> {
    let tokens = code(file);
    let declarations = (0..tokens.len()).filter(|at| starts_with(&tokens[*at..], &["Kind", "::", "of", "("]));
    declarations
        .filter_map(|at| tokens.get(at + 4))
        .filter(|argument| argument.kind == TokenKind::Text)
        .map(|argument| (argument.line, argument.text.clone()))
        .collect()
}

/// The object a file belongs to: `src/daemon/objects/peers/labels.rs` is about `peers`.
fn noun(path: &str) -> Option<&str> {
    let inner = path.strip_prefix(OBJECTS)?;
    let noun = inner.split('/').next()?.trim_end_matches(".rs");
    (noun != "mod").then_some(noun)
}

/// Kinds that are declared where no object is, twice, or beside another.
fn misplaced_kinds(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    let mut kinds: BTreeMap<&str, String> = BTreeMap::new();
    for file in files {
        for (line, kind) in kinds_declared(file) {
            let Some(owner) = noun(&file.path).or((file.path == AUDIT).then_some(AUDIT)) else {
                found
                    .push(file.finding(line, format!("kind `{kind}` is declared outside its object's file")));
                continue;
            };
            if let Some(other) = owners.insert(kind.clone(), owner) {
                found.push(file.finding(line, format!("kind `{kind}` is declared in `{other}` already")));
            } else if let Some(other) = kinds.insert(owner, kind.clone()) {
                found
                    .push(file.finding(line, format!("`{owner}` has kind `{other}` already: it writes one")));
            }
        }
    }
    found
}

/// Other ways by which an object could come by a kind: making one up, or taking that of another object.
fn borrowed_kinds(file: &File) -> Vec<Finding> {
    let Some(noun) = noun(&file.path) else { return Vec::new() };
    let tokens = code(file);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let constructed = starts_with(&tokens[at..], &["Kind", "("]);
        let computed = starts_with(&tokens[at..], &["Kind", "::", "of", "("])
            && tokens.get(at + 4).is_some_and(|argument| argument.kind != TokenKind::Text);
        if constructed || computed {
            found.push(
                file.finding(tokens[at].line, "a kind is declared as `Kind::of(\"...\")`, not computed"),
            );
        }
    }
    let others = paths(file, &tokens).into_iter().filter(|named| is_kind_of_another(&named.path, noun));
    found.extend(others.map(|named| file.finding(named.line, format!("`{}` is another's kind", named.path))));
    found
}

/// Whether `path` is the kind of an object other than `noun`; the audit trail's belongs to `audit`.
fn is_kind_of_another(path: &str, noun: &str) -> bool {
    let last = path.rsplit("::").next().unwrap_or_default();
    let is_kind = last == "KIND" || last.ends_with("_KIND");
    let own = [format!("crate::daemon::objects::{noun}::"), format!("crate::daemon::{noun}::")];
    is_kind && path.starts_with("crate::") && !own.iter().any(|module| path.starts_with(module))
}

#[test]
fn every_kind_is_declared_by_its_object() -> Result<()> {
    refuse(&misplaced_kinds(&rust_files("src/daemon/")?));
    Ok(())
}

#[test]
fn no_object_takes_the_kind_of_another() -> Result<()> {
    let found: Vec<Finding> = rust_files("src/daemon/")?.iter().flat_map(borrowed_kinds).collect();
    refuse(&found);
    Ok(())
}

/// Files that exist only in a test: path and text.
type Planted<'a> = &'a [(&'a str, &'a str)];

#[test]
fn a_misplaced_kind_is_found() {
    let peers = ("src/daemon/objects/peers.rs", "const KIND: Kind = Kind::of(\"peer\");");
    let cases: [(&str, Planted, usize); 7] = [
        ("one each", &[peers, ("src/daemon/objects/shards/mod.rs", "Kind::of(\"shard\")")], 0),
        ("the audit trail's", &[peers, (AUDIT, "Kind::of(\"audit\")")], 0),
        ("in the store", &[peers, ("src/daemon/store/memory.rs", "Kind::of(\"lease\")")], 1),
        ("another's", &[peers, ("src/daemon/objects/shards/mod.rs", "Kind::of(\"peer\")")], 1),
        ("two in one file", &[("src/daemon/objects/a.rs", "Kind::of(\"a\"); Kind::of(\"b\");")], 1),
        (
            "two in one object",
            &[
                ("src/daemon/objects/a/mod.rs", "Kind::of(\"a\")"),
                ("src/daemon/objects/a/b.rs", "Kind::of(\"b\")"),
            ],
            1,
        ),
        (
            "in a test",
            &[("src/daemon/store/memory.rs", "#[cfg(test)] mod tests { fn f() { Kind::of(\"a\"); } }")],
            0,
        ),
    ];
    for (what, files, expected) in cases {
        let files: Vec<File> = files.iter().map(|(path, text)| File::planted(path, text)).collect();
        let found = misplaced_kinds(&files);
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}

#[test]
fn a_borrowed_kind_is_found() {
    let path = "src/daemon/objects/shards.rs";
    expect_findings(
        borrowed_kinds,
        &[
            ("imported", path, "use super::peers::KIND;", 1),
            ("imported by another name", path, "use super::peers::KIND as PEER;", 1),
            ("in place", path, "fn f() { g(super::peers::PEER_KIND); }", 1),
            ("constructed", path, "fn f() { Kind(name.into()); }", 1),
            ("computed", path, "fn f() { Kind::of(name); }", 1),
            ("its own", path, "const KIND: Kind = Kind::of(\"shard\"); fn f() { g(KIND, self::KIND); }", 0),
            ("the audit trail's", path, "use crate::daemon::audit::KIND;", 1),
            ("the trail reads its own", "src/daemon/objects/audit.rs", "use crate::daemon::audit::KIND;", 0),
            ("not an object", "src/daemon/registry/mod.rs", "fn f(k: &str) -> Kind { Kind(k.into()) }", 0),
        ],
    );
}
