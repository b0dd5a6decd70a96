//! Test that the names which can be searched for in the audit trail are those that the sources write.

use std::collections::BTreeSet;
use std::path::Path;

use omnirelay_decisions::audit_names::{KINDS, actions};

/// Kinds of records that no audit record is about: a caller changes none of them by itself.
const NEVER_OBJECTS: [&str; 12] = [
    "audit",
    "audit-seal",
    "binding-seed",
    "cluster-trust",
    "domain-follower",
    "relay",
    "restoration",
    "shard-change",
    "shard-load",
    "shard-release",
    "shard-webhook",
    // As `drone/ID`, by the relay that has it.
    "agent",
];

/// Where the sources of the daemon are.
const SOURCES: [&str; 12] = [
    ".",
    "../../crates/capabilities",
    "../../crates/certificate_records/src",
    "../../crates/cluster_records/src",
    "../../crates/leadership_records/src",
    "../../crates/peer_records/src",
    "../../crates/restoration_records/src",
    "../../crates/gossip/src",
    "../../crates/node/src",
    "../../crates/nouns/src",
    "../../crates/registry/src",
    "../../crates/surface/src",
];

/// The sources of the daemon, but for their tests.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|of| of == "rs") && !path.to_string_lossy().contains("_test") {
            let source = std::fs::read_to_string(&path).unwrap();
            found.push(source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned());
        }
    }
}

fn daemon() -> Vec<String> {
    let mut found = Vec::new();
    for folder in SOURCES {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found
}

/// What stands in quotes behind a mark.
fn quoted(source: &str, mark: &str) -> BTreeSet<String> {
    source.split(mark).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// The kinds of records that the sources declare.
pub(crate) fn declared_kinds() -> BTreeSet<String> {
    daemon().iter().flat_map(|source| quoted(source, ": RecordKind = RecordKind::of(\"")).collect()
}

#[test]
fn every_kind_that_is_an_object_can_be_searched_for() {
    let known: BTreeSet<&str> = KINDS.iter().flat_map(|row| row.iter().copied()).collect();
    let declared = declared_kinds();
    assert!(declared.len() > 20, "{declared:?}: are kinds declared in another form now?");
    for kind in declared {
        assert!(known.contains(&*kind) || NEVER_OBJECTS.contains(&&*kind), "{kind}: is it an object?");
    }
    for source in daemon() {
        for mark in ["object: format!(\"", "object = format!(\""] {
            for object in quoted(&source, mark) {
                let kind = object.split('/').next().unwrap_or_default();
                assert!(known.contains(kind), "{object}");
            }
        }
    }
}

#[test]
fn every_action_that_nodes_enter_can_be_searched_for() {
    let known = actions();
    let nouns: BTreeSet<&str> = known.iter().filter_map(|action| Some(action.split_once('.')?.0)).collect();
    let mut found = 0;
    let enters = |source: &&String| source.contains("own_body(") || source.contains("AuditValue {");
    for source in daemon().iter().filter(enters) {
        // What an act is called is for the log, unless it is given to its record: `act.action`.
        let told = source.replace("DaemonAct::new(\"", "DaemonAct::new(\"act:");
        for text in told.split('"').skip(1).step_by(2) {
            let is_action = text.split_once('.').is_some_and(|(noun, verb)| {
                let is_word = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                nouns.contains(noun) && !verb.is_empty() && is_word(verb)
            });
            if is_action {
                assert!(known.contains(&text), "`{text}` is in no list of actions");
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found} actions were found in the sources");
}
