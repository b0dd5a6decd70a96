//! Rule 3: an object writes only under its own kinds.
//!
//! Who can name a kind can write under it. So every kind is declared once, in the file of its
//! object (that of the audit trail, the one exception, beside the code that adds it), as a constant that
//! no other object names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::paths::paths;
use crate::repository::{File, Finding, expect_findings, program, refuse, rust_files};
use crate::tokens::{Token, TokenKind, code, starts_with};

pub const OBJECTS: &str = "src/daemon/objects/";

/// Declares the kind of the records that every mutation leaves.
const AUDIT: &str = "crates/registry/src/audit_record.rs";
const AUDIT_MODULE: &str = "omnirelay_registry::audit_record";

/// The object that reads those records, and seals them.
pub const TRAIL: &str = "src/daemon/audit/";

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

/// The constants that `file` declares as kinds: `const PEER: Kind = ...`.
fn constants_declared(file: &File) -> Vec<(usize, String)> {
    let tokens = code(file);
    let declared = (0..tokens.len()).filter(|at| {
        let word = tokens.get(at + 1).is_some_and(|name| name.kind == TokenKind::Word);
        let keyword = tokens[*at].is_word("const") || tokens[*at].is_word("static");
        keyword && word && is_of_kind(&tokens[at + 2..])
    });
    declared.map(|at| (tokens[at].line, tokens[at + 1].text.clone())).collect()
}

/// Whether a declaration goes on with `: Kind =`, by whatever path the type is named.
fn is_of_kind(tokens: &[Token]) -> bool {
    let colon = tokens.first().is_some_and(|token| token.is_symbol(":"));
    let equals = tokens.iter().position(|token| token.is_symbol("="));
    let named = equals.and_then(|at| tokens.get(at.checked_sub(1)?));
    // A type of more tokens than `&'static omnirelay_store::Kind` has is another's `=`.
    colon && equals.is_some_and(|at| at <= 12) && named.is_some_and(|token| token.is_word("Kind"))
}

/// The constant of each kind in `files`.
fn kind_constants(files: &[File]) -> BTreeSet<String> {
    files.iter().flat_map(constants_declared).map(|(_, name)| name).collect()
}

/// The object a file belongs to: `src/daemon/objects/peers/labels.rs` is about `peers`.
fn noun(path: &str) -> Option<&str> {
    if path.starts_with(TRAIL) {
        return Some("audit");
    }
    let inner = path.strip_prefix(OBJECTS)?;
    let noun = inner.split('/').next()?.trim_end_matches(".rs");
    (noun != "mod").then_some(noun)
}

/// Objects whose records change together, in one commit, and so are of several kinds (decision 0030).
const OF_SEVERAL_KINDS: [&str; 3] = ["bindings", "certificates", "shards"];

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
            } else if let Some(other) = kinds.insert(owner, kind.clone())
                && !OF_SEVERAL_KINDS.contains(&owner)
            {
                found
                    .push(file.finding(line, format!("`{owner}` has kind `{other}` already: it writes one")));
            }
        }
    }
    found
}

/// Other ways by which an object could come by a kind: making one up, or taking that of another object.
///
/// `constants` are the names of all kinds there are.
fn borrowed_kinds(file: &File, constants: &BTreeSet<String>) -> Vec<Finding> {
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
    let others =
        paths(file, &tokens).into_iter().filter(|named| is_kind_of_another(&named.path, noun, constants));
    found.extend(others.map(|named| file.finding(named.line, format!("`{}` is another's kind", named.path))));
    found
}

/// Whether `path` is the kind of an object other than `noun`; the audit trail's belongs to `audit`.
///
/// A whole module of another object, with its kind in it, is the same.
fn is_kind_of_another(path: &str, noun: &str, constants: &BTreeSet<String>) -> bool {
    let Some((module, last)) = path.rsplit_once("::") else { return false };
    let own = [format!("omnirelay_daemon::objects::{noun}"), format!("omnirelay_daemon::{noun}")];
    let is_own = own.iter().any(|own| module == own || module.starts_with(&format!("{own}::")))
        || noun == "audit" && module == AUDIT_MODULE;
    let is_object = module.starts_with("omnirelay_daemon::objects::") || module == AUDIT_MODULE;
    let is_kind = constants.contains(last) && path.starts_with("omnirelay_");
    !is_own && (is_kind || is_object && last == "*")
}

#[test]
fn every_kind_is_declared_by_its_object() -> Result<()> {
    refuse(&misplaced_kinds(&program()?));
    Ok(())
}

#[test]
fn no_object_takes_the_kind_of_another() -> Result<()> {
    let mut files = rust_files("src/daemon/")?;
    files.extend(rust_files("crates/registry/")?);
    let constants = kind_constants(&files);
    // One for each kind: a declaration of another form would make the check blind.
    let kinds: BTreeSet<String> = files.iter().flat_map(kinds_declared).map(|(_, kind)| kind).collect();
    anyhow::ensure!(!kinds.is_empty(), "no kind was found: were they moved?");
    anyhow::ensure!(constants.len() == kinds.len(), "kinds {kinds:?} have the constants {constants:?}");
    refuse(&files.iter().flat_map(|file| borrowed_kinds(file, &constants)).collect::<Vec<_>>());
    Ok(())
}

/// Files that exist only in a test: path and text.
type Planted<'a> = &'a [(&'a str, &'a str)];

#[test]
fn a_misplaced_kind_is_found() {
    let peers = ("src/daemon/objects/peers.rs", "const KIND: Kind = Kind::of(\"peer\");");
    let certificates = "src/daemon/objects/certificates/mod.rs";
    let cases: [(&str, Planted, usize); 9] = [
        ("one each", &[peers, ("src/daemon/objects/shards/mod.rs", "Kind::of(\"shard\")")], 0),
        ("the audit trail's", &[peers, (AUDIT, "Kind::of(\"audit\")")], 0),
        ("in the store", &[peers, ("crates/store/src/memory.rs", "Kind::of(\"lease\")")], 1),
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
        ("two that change together", &[(certificates, "Kind::of(\"a\"); Kind::of(\"b\");")], 0),
        ("one of those elsewhere too", &[(certificates, "Kind::of(\"peer\"); Kind::of(\"b\");"), peers], 1),
        (
            "in a test",
            &[("crates/store/src/memory.rs", "#[cfg(test)] mod tests { fn f() { Kind::of(\"a\"); } }")],
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
    let declared = [
        File::planted("src/daemon/objects/peers/mod.rs", "pub const PEER: Kind = Kind::of(\"peer\");"),
        File::planted(AUDIT, "pub const AUDIT: store::Kind = store::Kind::of(\"audit\");"),
        File::planted(path, "pub(super) const SHARD: Kind = Kind::of(\"shard\"); const PEERS_MAX: u32 = 1;"),
    ];
    let constants = kind_constants(&declared);
    assert_eq!(constants.iter().map(String::as_str).collect::<Vec<_>>(), ["AUDIT", "PEER", "SHARD"]);
    expect_findings(
        |file| borrowed_kinds(file, &constants),
        &[
            ("imported", path, "use super::peers::PEER;", 1),
            ("imported among others", path, "use crate::objects::peers::{Peers, PEER};", 1),
            ("imported by another name", path, "use super::peers::PEER as MINE;", 1),
            ("imported with all else", path, "use super::peers::*;", 1),
            ("in place", path, "fn f() { g(super::peers::PEER); }", 1),
            ("through its module", path, "use super::peers; fn f() { g(peers::PEER); }", 1),
            ("constructed", path, "fn f() { Kind(name.into()); }", 1),
            ("computed", path, "fn f() { Kind::of(name); }", 1),
            (
                "its own",
                path,
                "const SHARD: Kind = Kind::of(\"shard\"); fn f() { g(SHARD, self::SHARD); }",
                0,
            ),
            ("its own in another file", "src/daemon/objects/peers/labels.rs", "use super::PEER;", 0),
            ("another constant", path, "use super::peers::PEERS_MAX;", 0),
            ("the audit trail's", path, "use omnirelay_registry::audit_record::AUDIT;", 1),
            (
                "the trail reads its own",
                "src/daemon/audit/mod.rs",
                "use omnirelay_registry::audit_record::AUDIT;",
                0,
            ),
            ("not an object", "crates/registry/src/lib.rs", "fn f(k: &str) -> Kind { Kind(k.into()) }", 0),
        ],
    );
}
