//! The scripts stop at the first failure, and what they install says what for.

use anyhow::Result;

use crate::repository::{File, Finding, expect_findings, files, refuse};

const PACKAGES: &str = "scripts/packages.txt";

fn careless(file: &File) -> Vec<Finding> {
    let is_bash = file.text.starts_with("#!/usr/bin/env bash\n");
    let stops = file.text.lines().any(|line| line == "set -euo pipefail");
    if is_bash && stops {
        Vec::new()
    } else {
        vec![file.finding(1, "a script is bash with `set -euo pipefail`")]
    }
}

/// Lines that do not say package, command and reason.
fn unexplained(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .filter(|(_, line)| line.split_whitespace().count() < 3)
        .map(|(at, line)| file.finding(at + 1, format!("`{line}`: a line is package, command, why")))
        .collect()
}

#[test]
fn scripts_stop_at_the_first_failure() -> Result<()> {
    let is_script = |file: &File| {
        file.path == ".ci/run"
            || file.is_below("scripts/") && !file.path.trim_start_matches("scripts/").contains('.')
    };
    let scripts: Vec<File> = files()?.into_iter().filter(is_script).collect();
    anyhow::ensure!(scripts.len() >= 3, "the scripts were not found: were they moved?");
    refuse(&scripts.iter().flat_map(careless).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn packages_say_what_for() -> Result<()> {
    let list: Vec<File> = files()?.into_iter().filter(|file| file.path == PACKAGES).collect();
    anyhow::ensure!(list.len() == 1, "there is no {PACKAGES}");
    refuse(&list.iter().flat_map(unexplained).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn careless_scripts_and_unexplained_packages_are_found() {
    expect_findings(
        careless,
        &[
            ("careful", "a", "#!/usr/bin/env bash\n# why\nset -euo pipefail\n", 0),
            ("goes on", "a", "#!/usr/bin/env bash\nset -e\n", 1),
            ("another shell", "a", "#!/bin/sh\nset -euo pipefail\n", 1),
        ],
    );
    expect_findings(
        unexplained,
        &[("explained", PACKAGES, "# list\n\njq jq reads JSON\n", 0), ("bare", PACKAGES, "jq jq\n", 1)],
    );
}
