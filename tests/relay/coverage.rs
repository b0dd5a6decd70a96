//! The tables at the top of this binary name tests that there are, and each is run on both stores.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::tables::{collect, of_binary, rows};

/// How many rows each table has.
const TABLES: &[(&str, usize)] =
    &[("R", 8), ("T", 22), ("K", 5), ("C", 15), ("P", 11), ("H", 3), ("S", 19), ("W", 6)];

/// What is tested on Redis only, and why.
const REDIS_ONLY: &[(&str, &str)] = &[
    ("a_killed_relay_is_gone_on_time_for_the_others", "daemons on one file have one process"),
    ("an_agent_is_taken_over_by_another_daemon", "daemons on one file have one process"),
    ("an_agent_with_two_streams_belongs_to_the_later_relay", "daemons on one file have one process"),
    ("a_relay_that_stops_is_gone_at_once", "daemons on one file have one process"),
    ("nothing_acknowledged_is_missing_when_relays_are_killed", "daemons on one file have one process"),
    ("without_its_store_the_registry_tells_what_it_knew", "the file is not away while its process runs"),
];

#[test]
fn every_promise_is_tested() -> Result<()> {
    let mut known = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/relay"), &mut known)?;
    let rows = rows(include_str!("main.rs"));
    for (table, count) in TABLES {
        for id in (1..=*count).map(|number| format!("{table}-{number:02}")) {
            let tests = rows.get(&id).with_context(|| format!("nothing is said of {id}"))?;
            ensure!(!tests.is_empty(), "no test shows {id}");
            for test in tests {
                ensure!(known.contains(test), "{id}: there is no test `{test}`");
            }
        }
    }
    let all: usize = TABLES.iter().map(|(_, count)| count).sum();
    ensure!(rows.len() == all, "{} rows, not {all}", rows.len());
    Ok(())
}

#[test]
fn every_promise_is_tested_on_both_stores() -> Result<()> {
    let found = of_binary("tests/relay")?;
    let on = |store: &str, name: &str| found.get(store).is_some_and(|names| names.contains(name));
    let excused = |name: &str| REDIS_ONLY.iter().any(|(excused, _)| *excused == name);
    for (id, tests) in rows(include_str!("main.rs")) {
        for name in &tests {
            ensure!(on("redis", name), "{id}: {name} is not tested on Redis");
            ensure!(on("embedded", name) != excused(name), "{name}: on the embedded store, or in REDIS_ONLY");
        }
    }
    for (name, why) in REDIS_ONLY {
        ensure!(on("redis", name) && !why.is_empty(), "there is no test `{name}` to excuse");
    }
    Ok(())
}
