//! Rule 3: a capability writes only under its own kinds.
//!
//! Who can name a kind can write under it. So every kind is declared once, in the crate of its capability or in that of the records
//! that others read of it (that of the audit trail, the one exception, beside the code that adds it), as a constant that no other
//! capability names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::paths::paths;
use crate::repository::{File, Finding, expect_findings, program, refuse, root, rust_files};
use crate::rooms::CAPABILITIES;
use crate::tokens::{Token, TokenKind, code, starts_with};

/// The records of capabilities that others read, each with the capability that writes them.
const RECORDS: [(&str, &str); 5] = [
    ("certificate_records", "certificates"),
    ("cluster_records", "clusters"),
    ("leadership_records", "leadership"),
    ("peer_records", "peers"),
    ("restoration_records", "restoration"),
];

/// What capabilities do by themselves, and how they are mounted: no answer is made there.
const DRIVERS: [&str; 9] = [
    "capacity/src/ledger.rs",
    "certificates/src/mount.rs",
    "events/src/readiness_changes.rs",
    "mesh_port/src/mount",
    "observability/src/otlp/",
    "peers/src/keep_present.rs",
    "registers/src/advertisement_fetch/",
    "registers/src/resync/",
    "relay/src/",
];
/// What of the relay answers for records.
const RELAY_SERVICES: [&str; 3] = ["relay/src/aero_registry/", "relay/src/agents/", "relay/src/relays/"];

/// What answers are made of besides.
const READ: [&str; 7] = [
    "crates/certificate_records/",
    "crates/cluster_records/",
    "crates/gossip/src/gossip_health.rs",
    "crates/gossip/src/reach.rs",
    "crates/leadership_records/",
    "crates/peer_records/",
    "crates/restoration_records/",
];

/// Whether a file makes answers, or what they are made of.
pub(crate) fn is_service(path: &str) -> bool {
    let Some(inner) = path.strip_prefix(CAPABILITIES) else {
        return READ.iter().any(|room| path.starts_with(room));
    };
    let is_below = |folders: &[&str]| folders.iter().any(|folder| inner.starts_with(folder));
    is_below(&RELAY_SERVICES) || !is_below(&DRIVERS)
}

/// Declares the kind of the records that every mutation leaves.
const AUDIT: &str = "crates/registry/src/audit_record.rs";
const AUDIT_MODULE: &str = "omnirelay_registry::audit_record";

/// The kinds that `file` declares with `RecordKind::of("...")`, and on which lines.
pub(crate) fn kinds_declared(file: &File) -> Vec<(usize, String)> {
    let tokens = code(file);
    let declarations =
        (0..tokens.len()).filter(|at| starts_with(&tokens[*at..], &["RecordKind", "::", "of", "("]));
    declarations
        .filter_map(|at| tokens.get(at + 4))
        .filter(|argument| argument.kind == TokenKind::Text)
        .map(|argument| (argument.line, argument.text.clone()))
        .collect()
}

/// The constants that `file` declares as kinds: `const PEER: RecordKind = ...`.
fn constants_declared(file: &File) -> Vec<(usize, String)> {
    let tokens = code(file);
    let declared = (0..tokens.len()).filter(|at| {
        let word = tokens.get(at + 1).is_some_and(|name| name.kind == TokenKind::Word);
        let keyword = tokens[*at].is_word("const") || tokens[*at].is_word("static");
        keyword && word && is_of_kind(&tokens[at + 2..])
    });
    declared.map(|at| (tokens[at].line, tokens[at + 1].text.clone())).collect()
}

/// Whether a declaration goes on with `: RecordKind =`, by whatever path the type is named.
fn is_of_kind(tokens: &[Token]) -> bool {
    let colon = tokens.first().is_some_and(|token| token.is_symbol(":"));
    let equals = tokens.iter().position(|token| token.is_symbol("="));
    let named = equals.and_then(|at| tokens.get(at.checked_sub(1)?));
    // A type of more tokens than `&'static omnirelay_store::RecordKind` has is another's `=`.
    colon && equals.is_some_and(|at| at <= 12) && named.is_some_and(|token| token.is_word("RecordKind"))
}

/// The constant of each kind in `files`.
fn kind_constants(files: &[File]) -> BTreeSet<String> {
    files.iter().flat_map(constants_declared).map(|(_, name)| name).collect()
}

/// The capability that a crate belongs to: `peer_records` to `peers`; `None`: it is of all.
fn capability(name: &str) -> Option<&str> {
    let of_records = RECORDS.iter().find(|(records, _)| *records == name).map(|(_, capability)| *capability);
    of_records.or_else(|| is_capability(name).then_some(name))
}

/// Whether there is such a capability.
fn is_capability(name: &str) -> bool {
    root().join(CAPABILITIES).join(name).is_dir()
}

/// The capability that a file belongs to: `crates/capabilities/peers/src/change.rs` to `peers`.
fn owner(path: &str) -> Option<&str> {
    let inner = path.strip_prefix(CAPABILITIES).or_else(|| path.strip_prefix("crates/"))?;
    capability(inner.split('/').next()?)
}

/// Kinds that are declared where no capability is, or twice.
fn misplaced_kinds(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for file in files {
        for (line, kind) in kinds_declared(file) {
            let Some(owner) = owner(&file.path).or((file.path == AUDIT).then_some(AUDIT)) else {
                found.push(file.finding(line, format!("kind `{kind}` is declared outside of capabilities")));
                continue;
            };
            if let Some(other) = owners.insert(kind.clone(), owner) {
                found.push(file.finding(line, format!("kind `{kind}` is declared in `{other}` already")));
            }
        }
    }
    found
}

/// Other ways by which an object could come by a kind: making one up, or taking that of another object.
///
/// `constants` are the names of all kinds there are.
fn borrowed_kinds(file: &File, constants: &BTreeSet<String>) -> Vec<Finding> {
    let Some(own) = owner(&file.path) else { return Vec::new() };
    let tokens = code(file);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let constructed = starts_with(&tokens[at..], &["RecordKind", "("]);
        let computed = starts_with(&tokens[at..], &["RecordKind", "::", "of", "("])
            && tokens.get(at + 4).is_some_and(|argument| argument.kind != TokenKind::Text);
        if constructed || computed {
            found.push(
                file.finding(
                    tokens[at].line,
                    "a kind is declared as `RecordKind::of(\"...\")`, not computed",
                ),
            );
        }
    }
    let others =
        paths(file, tokens).into_iter().filter(|named| is_kind_of_another(&named.path, own, constants));
    found.extend(others.map(|named| file.finding(named.line, format!("`{}` is another's kind", named.path))));
    found
}

/// Whether `path` is the kind of a capability other than `own`; the audit trail's belongs to `audit`.
///
/// A whole module of another capability, with its kind in it, is the same.
fn is_kind_of_another(path: &str, own: &str, constants: &BTreeSet<String>) -> bool {
    let Some((module, last)) = path.rsplit_once("::") else { return false };
    let Some(name) = module.split("::").next().and_then(|first| first.strip_prefix("omnirelay_")) else {
        return false;
    };
    let of = if module == AUDIT_MODULE { Some("audit") } else { capability(name) };
    of.is_some_and(|of| of != own) && (constants.contains(last) || last == "*")
}

#[test]
fn every_kind_is_declared_by_its_object() -> Result<()> {
    refuse(&misplaced_kinds(&program()?));
    Ok(())
}

#[test]
fn no_object_takes_the_kind_of_another() -> Result<()> {
    let files = rust_files("crates/")?;
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
    let peers = ("crates/peer_records/src/lib.rs", "const KIND: RecordKind = RecordKind::of(\"peer\");");
    let shards = "crates/capabilities/shards/src/lib.rs";
    let cases: [(&str, Planted, usize); 6] = [
        ("one each", &[peers, (shards, "RecordKind::of(\"shard\")")], 0),
        ("several", &[peers, (shards, "RecordKind::of(\"shard\"); RecordKind::of(\"plan\");")], 0),
        ("the audit trail's", &[peers, (AUDIT, "RecordKind::of(\"audit\")")], 0),
        ("in the store", &[peers, ("crates/store/src/memory.rs", "RecordKind::of(\"lease\")")], 1),
        ("another's", &[peers, (shards, "RecordKind::of(\"peer\")")], 1),
        (
            "in a test",
            &[("crates/store/src/memory.rs", "#[cfg(test)] mod tests { fn f() { RecordKind::of(\"a\"); } }")],
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
    let path = "crates/capabilities/shards/src/lib.rs";
    let declared = [
        File::planted(
            "crates/peer_records/src/lib.rs",
            "pub const PEER: RecordKind = RecordKind::of(\"peer\");",
        ),
        File::planted(AUDIT, "pub const AUDIT: store::RecordKind = store::RecordKind::of(\"audit\");"),
        File::planted(
            path,
            "pub(super) const SHARD: RecordKind = RecordKind::of(\"shard\"); const PEERS_MAX: u32 = 1;",
        ),
    ];
    let constants = kind_constants(&declared);
    assert_eq!(constants.iter().map(String::as_str).collect::<Vec<_>>(), ["AUDIT", "PEER", "SHARD"]);
    expect_findings(
        |file| borrowed_kinds(file, &constants),
        &[
            ("imported", path, "use omnirelay_peer_records::PEER;", 1),
            ("imported among others", path, "use omnirelay_peer_records::{alive, PEER};", 1),
            ("imported by another name", path, "use omnirelay_peer_records::PEER as MINE;", 1),
            ("imported with all else", path, "use omnirelay_peer_records::*;", 1),
            ("in place", path, "fn f() { g(omnirelay_peer_records::PEER); }", 1),
            (
                "through its module",
                path,
                "use omnirelay_peer_records as peers; fn f() { g(peers::PEER); }",
                1,
            ),
            ("constructed", path, "fn f() { RecordKind(name.into()); }", 1),
            ("computed", path, "fn f() { RecordKind::of(name); }", 1),
            (
                "its own",
                path,
                "const SHARD: RecordKind = RecordKind::of(\"shard\"); fn f() { g(SHARD, self::SHARD); }",
                0,
            ),
            (
                "its own in another crate",
                "crates/capabilities/peers/src/x.rs",
                "use omnirelay_peer_records::PEER;",
                0,
            ),
            ("another constant", path, "use omnirelay_peer_records::PEERS_MAX;", 0),
            ("the audit trail's", path, "use omnirelay_registry::audit_record::AUDIT;", 1),
            (
                "the trail reads its own",
                "crates/capabilities/audit/src/lib.rs",
                "use omnirelay_registry::audit_record::AUDIT;",
                0,
            ),
            (
                "not an object",
                "crates/registry/src/lib.rs",
                "fn f(k: &str) -> RecordKind { RecordKind(k.into()) }",
                0,
            ),
        ],
    );
}
