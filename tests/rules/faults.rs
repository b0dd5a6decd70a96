//! The guide to the faults of the store names a test for each, and each test stands in the guide.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::repository::{File, Finding, files, refuse, rust_files};

const GUIDE: &str = "docs/guides/storage-faults.md";
const TESTS: &str = "tests/redis/daemons/";

/// The tests in the last column of the tables, with their lines.
fn named(guide: &File) -> Vec<(usize, String)> {
    let rows = guide.text.lines().enumerate().filter(|(_, line)| line.starts_with("| "));
    rows.filter_map(|(at, line)| {
        let last = line.trim_end_matches('|').rsplit('|').next()?.trim();
        let name = last.strip_prefix('`')?.strip_suffix('`')?;
        Some((at + 1, name.to_owned()))
    })
    .collect()
}

/// The names of functions.
fn functions(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.text.lines().enumerate().filter_map(|(at, line)| {
        let name = line.split_once("fn ")?.1.split(['(', '<']).next()?;
        Some((at + 1, name))
    })
}

/// The names of tests: functions behind an attribute that says so.
fn tests(file: &File) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let is_test = |at: usize| {
        at >= 2 && ["#[test]", "#[tokio::test"].iter().any(|mark| lines[at - 2].starts_with(mark))
    };
    functions(file).filter(|(line, _)| is_test(*line)).collect()
}

fn unproven(guide: &File, sources: &[File]) -> Vec<Finding> {
    let known: BTreeSet<&str> = sources.iter().flat_map(functions).map(|(_, name)| name).collect();
    let missing = named(guide).into_iter().filter(|(_, name)| !known.contains(name.as_str()));
    missing.map(|(line, name)| guide.finding(line, format!("there is no test `{name}`"))).collect()
}

fn untold(guide: &File, sources: &[File]) -> Vec<Finding> {
    let told: BTreeSet<String> = named(guide).into_iter().map(|(_, name)| name).collect();
    let found = sources.iter().filter(|file| file.is_below(TESTS)).flat_map(|file| {
        let untold = tests(file).into_iter().filter(|(_, name)| !told.contains(*name));
        untold.map(|(line, name)| file.finding(line, format!("`{name}` does not stand in {GUIDE}")))
    });
    found.collect()
}

#[test]
fn faults_and_their_tests_are_told_together() -> Result<()> {
    let guide = files()?.into_iter().find(|file| file.path == GUIDE).context("the guide is gone")?;
    let sources = rust_files("tests/")?;
    anyhow::ensure!(named(&guide).len() >= 20, "the table of {GUIDE} was not found");
    refuse(&unproven(&guide, &sources).into_iter().chain(untold(&guide, &sources)).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_fault_without_a_test_and_a_test_without_a_fault_are_found() {
    let guide =
        File::planted(GUIDE, "| fault | test |\n| --- | --- |\n| one | `first` |\n| two | `second` |\n");
    let source = "#[test]\nfn first() {}\n\n#[tokio::test(x)]\nasync fn third() {}\n\nfn helper() {}\n";
    let sources = [File::planted("tests/redis/daemons/a.rs", source)];
    let lines = |found: Vec<Finding>| found.iter().map(|found| found.line).collect::<Vec<_>>();
    assert_eq!(lines(unproven(&guide, &sources)), [4]);
    assert_eq!(lines(untold(&guide, &sources)), [5]);
}
