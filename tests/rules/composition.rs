//! The composition: each capability is mounted. That the kinds of each are in the table of all is a test of the composition.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::repository::{File, Finding, program, refuse};

const COMPOSE: &str = "src/daemon/compose.rs";

/// The capabilities, by the names of their folders.
fn capabilities(files: &[File]) -> BTreeSet<&str> {
    let below = files.iter().filter_map(|file| file.path.strip_prefix("crates/capabilities/"));
    below.filter_map(|path| Some(path.split_once('/')?.0)).collect()
}

/// Capabilities that the composition does not mount.
fn left_out(files: &[File], compose: &File) -> Vec<Finding> {
    let mounts = |capability: &&str| compose.text.contains(&format!(" {capability}::mount"));
    let left_out = capabilities(files).into_iter().filter(|capability| !mounts(capability));
    left_out
        .map(|capability| compose.finding(0, format!("the capability `{capability}` is not mounted")))
        .collect()
}

#[test]
fn each_capability_is_mounted() -> Result<()> {
    let files = program()?;
    let compose = files.iter().find(|file| file.path == COMPOSE).context("no composition: was it moved?")?;
    anyhow::ensure!(!capabilities(&files).is_empty(), "no capability was found: were they moved?");
    refuse(&left_out(&files, compose));
    Ok(())
}

#[test]
fn a_capability_that_is_not_mounted_is_found() {
    let of = |capability: &str| File::planted(&format!("crates/capabilities/{capability}/src/lib.rs"), "");
    let files = [of("peers"), of("events")];
    let cases =
        [("    peers::mount(node);\n    events::mount(node);", 0), ("    peers::mount(node);", 1), ("", 2)];
    for (text, expected) in cases {
        let found = left_out(&files, &File::planted(COMPOSE, text));
        assert_eq!(found.len(), expected, "{found:?}");
    }
}
