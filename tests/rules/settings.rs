//! Settings change while the daemon runs: each that need not stay as at the start is changed in a `reload_test.rs`.

use std::collections::BTreeSet;

use anyhow::Result;
use omnirelay_settings::{AT_START, keys};

use crate::repository::{File, Finding, expect_findings, program, refuse};

/// The file that settings are changed in, beside what reads them.
const TESTS: &str = "reload_test.rs";
/// Where a setting is to be entered that has no such test.
const MAP: &str = "docs/guides/configuration.md";
/// Other names of other settings.
const OTHER_NAMES: [&str; 11] = [
    "mesh.gossip.advertiseHost",
    "mesh.gossip.advertisePort",
    "mesh.gossip.bindAddress",
    "mesh.gossip.clusterId",
    "mesh.gossip.labels",
    "mesh.gossip.meshVersion",
    "mesh.gossip.nodeId",
    "mesh.gossip.port",
    "mesh.gossip.region",
    "mesh.gossip.role",
    "mesh.gossip.seedPeers",
];
const OTHER_NAMES_BELOW: &str = "mesh.gossip.tls.";

/// The settings that change while the daemon runs.
fn live_settings() -> BTreeSet<String> {
    let is_below = |key: &str, above: &str| {
        key == above || key.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))
    };
    let stays = |key: &str| AT_START.iter().any(|above| is_below(key, above));
    let is_other = |key: &str| OTHER_NAMES.contains(&key) || key.starts_with(OTHER_NAMES_BELOW);
    let all = keys().into_iter().map(|(key, _)| key);
    all.filter(|key| !stays(key) && !is_other(key)).collect()
}

/// The settings that no file changes in a test, of these.
fn unchanged(settings: &BTreeSet<String>, tests: &[&File]) -> Vec<String> {
    let code = |file: &File| -> String {
        let lines = file.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let tests: Vec<String> = tests.iter().map(|file| code(file)).collect();
    let is_changed = |key: &&String| tests.iter().any(|text| text.contains(&format!("\"{key}\"")));
    settings.iter().filter(|key| !is_changed(key)).cloned().collect()
}

#[test]
fn each_setting_is_changed_while_something_runs() -> Result<()> {
    let files = program()?;
    let tests: Vec<&File> = files.iter().filter(|file| file.path.ends_with(TESTS)).collect();
    let findings: Vec<Finding> = unchanged(&live_settings(), &tests)
        .into_iter()
        .map(|key| Finding {
            path: MAP.to_owned(),
            line: 0,
            what: format!("no {TESTS} changes `{key}` while something runs: see its effect there, or enter it in AT_START"),
        })
        .collect();
    refuse(&findings);
    Ok(())
}

#[test]
fn settings_without_such_a_test_are_found() {
    let settings = BTreeSet::from(["log.filter".to_owned(), "log.format".to_owned()]);
    let check = |file: &File| {
        let unchanged = unchanged(&settings, &[file]);
        unchanged.into_iter().map(|key| file.finding(0, key)).collect()
    };
    expect_findings(
        check,
        &[
            ("both", "a/reload_test.rs", r#"s.set("log.filter", "x"); s.set("log.format", "y");"#, 0),
            ("a comment", "a/reload_test.rs", "// \"log.filter\", \"log.format\"", 2),
            ("a longer key", "a/reload_test.rs", r#"s.set("log.filters", "x");"#, 2),
        ],
    );
}
