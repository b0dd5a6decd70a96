//! The tables at the top of this binary name tests that there are, and what has a number is tested on both stores.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::tables::{collect, of_binary, rows};

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

#[test]
fn every_requirement_is_tested() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    for folder in ["tests", "src", "crates"] {
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

#[test]
fn every_scenario_is_tested_on_both_stores() -> Result<()> {
    let found = of_binary("tests/registers")?;
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
