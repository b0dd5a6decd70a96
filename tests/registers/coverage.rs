//! The tables at the top of this binary name tests that there are, and what has a number is tested on both stores.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The scenarios of the stories, and the edge cases, by what the names of their tests begin with.
const SCENARIOS: &[&str] = &[
    "us1_1_",
    "us1_2_",
    "us1_3_",
    "us2_1_",
    "us2_2_",
    "us2_3_",
    "us3_1_",
    "us3_2_",
    "us3_3_",
    "us4_1_",
    "us4_2_",
    "edge_register_service_first",
    "edge_store_",
    "edge_deleted_while_running",
    "edge_hundreds_at_once",
    "edge_rolling_restart_in_every_order",
];

/// What the names of tests begin with that are about something that is required.
const NUMBERED: &[&str] = &["us1_", "us2_", "us3_", "us4_", "edge_", "fr_", "sc_"];

/// What is tested on Redis only, and why.
const REDIS_ONLY: &[(&str, &str)] = &[
    ("edge_store_away_at_start", "a process does not start without its file"),
    ("edge_store_away_in_the_middle", "the file is not away while its process runs"),
    ("edge_store_away_and_back", "the file is not away while its process runs"),
    ("edge_store_is_emptied_while_daemons_run", "the file is its process's alone"),
    ("edge_store_hangs_for_longer_than_a_ttl", "the file is read within its process"),
    ("us4_1_entries_of_a_dead_node_go_with_their_ttl", "nodes on one file have one process"),
    (
        "us4_1_withdrawn_entries_go_at_once_and_the_others_are_there_after_a_restart",
        "nodes on one file have one process",
    ),
    ("us4_2_restarted_node_is_seen_without_interruption", "nodes on one file have one process"),
];

/// The rows of the tables: what is required, and the tests that show it.
fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    let row = |line: &str| {
        let (what, tests) = line.split_once(" | ")?;
        let id = what.split(' ').next()?.to_owned();
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        id.contains('-').then_some((id, tests))
    };
    lines.filter_map(row).filter(|(id, _)| !id.starts_with("--")).collect()
}

/// The names of the functions in a file that are marked as tests, or that a macro makes tests of.
fn tests_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut marked, mut listed) = (false, false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("on_both! {") {
            listed = true;
        } else if line == "}" {
            listed = false;
        } else if listed {
            found.insert(line.to_owned());
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            found.extend(rest.split('(').next().map(str::to_owned));
            marked = false;
        }
    }
    found
}

fn collect(directory: &Path, into: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            into.extend(tests_in(&text));
        }
    }
    Ok(())
}

#[test]
fn every_requirement_is_tested() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    for folder in ["tests", "src"] {
        collect(&root.join(folder), &mut known)?;
    }
    let rows = rows(include_str!("main.rs"));
    let ids = |kind: &str, count: usize, width: usize| {
        (1..=count).map(|number| format!("{kind}-{number:0width$}")).collect::<Vec<_>>()
    };
    for id in [ids("FR", 11, 3), ids("SC", 6, 3), ids("D", 13, 2)].concat() {
        let tests = rows.get(&id).with_context(|| format!("nothing is said of {id}"))?;
        ensure!(!tests.is_empty(), "no test shows {id}");
        for test in tests {
            ensure!(known.contains(test), "{id}: there is no test `{test}`");
        }
    }
    ensure!(rows.len() == 30, "{} rows", rows.len());
    Ok(())
}

/// The tests of a file of this binary, by the store that they are run on.
fn by_store(text: &str) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let modules = [
        ("on_both! {", &["embedded", "redis"][..]),
        ("mod embedded {", &["embedded"]),
        ("mod redis {", &["redis"]),
    ];
    for (opening, stores) in modules {
        let blocks = text.split("\n}").filter_map(|block| block.split_once(&format!("\n{opening}\n")));
        for (_, block) in blocks {
            // In `tests_in` a closing brace ends a list.
            let names = if opening == "on_both! {" {
                block.lines().map(|line| line.trim().to_owned()).filter(|name| !name.is_empty()).collect()
            } else {
                tests_in(block)
            };
            for store in stores {
                found.entry(store).or_default().extend(names.iter().cloned());
            }
        }
    }
    found
}

#[test]
fn every_scenario_is_tested_on_both_stores() -> Result<()> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registers"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("coverage.rs") {
            for (store, names) in by_store(&std::fs::read_to_string(&path)?) {
                found.entry(store).or_default().extend(names);
            }
        }
    }
    let on = |store: &str, name: &str| found.get(store).is_some_and(|names| names.contains(name));
    let names: BTreeSet<&String> = found.values().flatten().collect();
    for scenario in SCENARIOS {
        ensure!(names.iter().any(|name| name.starts_with(scenario)), "no test shows {scenario}");
    }
    let excused = |name: &str| REDIS_ONLY.iter().any(|(excused, _)| *excused == name);
    for name in names.iter().filter(|name| NUMBERED.iter().any(|kind| name.starts_with(kind))) {
        ensure!(on("redis", name), "{name} is not tested on Redis");
        ensure!(on("embedded", name) != excused(name), "{name}: on the embedded store, or in REDIS_ONLY");
    }
    for (name, why) in REDIS_ONLY {
        ensure!(on("redis", name) && !why.is_empty(), "there is no test `{name}` to excuse");
    }
    Ok(())
}

#[test]
fn tests_are_found_by_their_store() {
    let text = "\non_both! {\n    made\n    both\n}\nfn x() {\n}\nmod redis {\n    #[test]\n    fn only() {\n    }\n}\n#[test]\nfn none() {\n}\n";
    let found = by_store(text);
    assert_eq!(found["embedded"].iter().collect::<Vec<_>>(), ["both", "made"]);
    assert_eq!(found["redis"].iter().collect::<Vec<_>>(), ["both", "made", "only"]);
}

#[test]
fn rows_and_tests_are_found() {
    let table =
        "//! | requirement | tests |\n//! | --- | --- |\n//! | X-1 words | `a`, `b` |\n//! | X-2 | |\n";
    let found = rows(table);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        (found["X-1"].as_slice(), found["X-2"].len()),
        (["a".to_owned(), "b".to_owned()].as_slice(), 0)
    );
    let text = "on_both! {\n    made\n}\n#[test]\nfn marked() {}\nfn helper() {}\n#[tokio::test(flavor = \"x\")]\nasync fn other() {";
    assert_eq!(tests_in(text).into_iter().collect::<Vec<_>>(), ["made", "marked", "other"]);
}
