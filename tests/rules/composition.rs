//! The composition: each capability is mounted, and the kinds of each are in the table of all kinds.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::repository::{File, Finding, program, refuse};

const COMPOSE: &str = "src/daemon/compose.rs";
const CAPABILITIES: &str = "crates/capabilities/";

/// How many tables of kinds each capability declares.
fn tables(files: &[File]) -> BTreeMap<&str, usize> {
    let mut found = BTreeMap::new();
    for file in files {
        let Some((capability, _)) =
            file.path.strip_prefix(CAPABILITIES).and_then(|rest| rest.split_once('/'))
        else {
            continue;
        };
        *found.entry(capability).or_default() +=
            file.text.matches("pub const KINDS: CapabilityKinds").count();
    }
    found
}

/// Capabilities that the composition leaves out, or the kinds of which it does.
fn left_out(files: &[File], compose: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (capability, declared) in tables(files) {
        if !compose.text.contains(&format!(" {capability}::mount")) {
            found.push(compose.finding(0, format!("the capability `{capability}` is not mounted")));
        }
        let row = |line: &&str| line.starts_with(&format!("    {capability}::")) && line.ends_with("KINDS,");
        let rows = compose.text.lines().filter(row).count();
        if rows != declared {
            found.push(compose.finding(
                0,
                format!("`{capability}` declares {declared} tables of kinds, and `KINDS` has {rows} of them"),
            ));
        }
    }
    found
}

#[test]
fn each_capability_is_composed_with_its_kinds() -> Result<()> {
    let files = program()?;
    let compose = files.iter().find(|file| file.path == COMPOSE).context("no composition: was it moved?")?;
    anyhow::ensure!(
        tables(&files).values().sum::<usize>() > 0,
        "no table of kinds was found: were they moved?"
    );
    refuse(&left_out(&files, compose));
    Ok(())
}

#[test]
fn what_the_composition_leaves_out_is_found() {
    let kinds = "pub const KINDS: CapabilityKinds = CapabilityKinds {};";
    let files = [
        File::planted("crates/capabilities/peers/src/mount.rs", kinds),
        File::planted("crates/capabilities/events/src/lib.rs", ""),
    ];
    let cases = [
        (
            "pub const KINDS: &[CapabilityKinds] = &[\n    peers::KINDS,\n];\n    peers::mount(node);\n    events::mount(node);",
            0,
        ),
        (
            "pub const KINDS: &[CapabilityKinds] = &[\n];\n    peers::mount(node);\n    events::mount(node);",
            1,
        ),
        ("pub const KINDS: &[CapabilityKinds] = &[\n    peers::KINDS,\n];\n    peers::mount(node);", 1),
        ("", 3),
    ];
    for (text, expected) in cases {
        let found = left_out(&files, &File::planted(COMPOSE, text));
        assert_eq!(found.len(), expected, "{found:?}");
    }
}
