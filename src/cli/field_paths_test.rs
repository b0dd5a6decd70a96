//! Paths of fields that commands read of answers, held against the messages: a name that no message has is read as empty for ever.

use std::collections::BTreeMap;
use std::path::Path;

use omnirelay_wire::descriptors::ENCODED;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};

/// The readers of `frame/document.rs`, whose second argument is a path.
const READERS: [&str; 8] = ["because(", "field(", "flag(", "items(", "number(", "pairs(", "real(", "text("];
/// What the command line puts into documents itself, in which no daemon has a part.
const OWN: [&str; 26] = [
    "alert",
    "alerts",
    "alsoFired",
    "believed",
    "bytes",
    "certificateEnds",
    "check",
    "durationMs",
    "fault",
    "firesAfterMs",
    "forMs",
    "goesAfterMs",
    "groups",
    "items",
    "keysFrom",
    "log",
    "meaning",
    "metric.node",
    "pid",
    "presented",
    "printedBy",
    "problems",
    "protected",
    "remembered",
    "took",
    "trailSound",
];
/// How many paths are read at least: fewer are found by a test that looks at the wrong place.
const READ_MIN: usize = 1000;

/// The arguments of a call, whose text begins behind its parenthesis.
fn arguments(call: &str) -> Vec<&str> {
    let (mut found, mut depth, mut begin, mut quoted) = (Vec::new(), 0, 0, false);
    for (at, letter) in call.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                found.push(call[begin..at].trim());
                return found;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(call[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// The paths that a source reads, all of them literals.
fn paths(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for reader in READERS {
        for (at, _) in source.match_indices(reader) {
            let is_call =
                !source[..at].ends_with(|before: char| before.is_alphanumeric() || "_.".contains(before));
            let path = is_call.then(|| arguments(&source[at + reader.len()..]).get(1).copied()).flatten();
            found.extend(path.and_then(|path| path.strip_prefix('"')?.strip_suffix('"')));
        }
    }
    found
}

/// Whether a message has the field that the path begins with, its message the next one, and so on.
fn has(message: &MessageDescriptor, path: &str) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    message.fields().filter(|field| field.json_name() == name).any(|field| match (rest, field.kind()) {
        (None, _) => true,
        // The keys of a map are data.
        (Some(key), _) if field.is_map() => !key.contains('.'),
        (Some(rest), Kind::Message(within)) => has(&within, rest),
        (Some(_), _) => false,
    })
}

fn sources(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("_test.rs") && !name.ends_with("/tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
            found.insert(name, code.to_owned());
        }
    }
}

#[test]
fn fields_that_commands_read_are_in_messages() {
    let pool = DescriptorPool::decode(ENCODED).unwrap();
    let known = |path: &str| OWN.contains(&path) || pool.all_messages().any(|message| has(&message, path));
    let mut all = BTreeMap::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut all);
    let read: Vec<(&str, &str)> = all
        .iter()
        .flat_map(|(name, source)| paths(source).into_iter().map(move |path| (name.as_str(), path)))
        .collect();
    assert!(read.len() >= READ_MIN, "only {} paths are read", read.len());
    let unknown: Vec<_> = read.into_iter().filter(|(_, path)| !known(path)).collect();
    assert!(unknown.is_empty(), "no message has {unknown:#?}");
}

#[test]
fn a_path_that_is_misspelt_is_found() {
    let pool = DescriptorPool::decode(ENCODED).unwrap();
    let known = |path: &str| pool.all_messages().any(|message| has(&message, path));
    let source = "let a = text(items(peer, \"health\").get(0)?, \"nodeid\"); flag(&peer, \"peer.health.state\"); context(1, \"x\")";
    let read = paths(source);
    assert_eq!(read, ["peer.health.state", "health", "nodeid"]);
    let unknown: Vec<&str> = read.into_iter().filter(|path| !known(path)).collect();
    assert_eq!(unknown, ["nodeid"]);
}
