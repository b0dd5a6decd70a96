//! The tables at the top of this binary name tests that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};

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
    // The stories and their scenarios are named after them.
    for story in
        ["us1_1", "us1_2", "us1_3", "us2_1", "us2_2", "us2_3", "us3_1", "us3_2", "us3_3", "us4_1", "us4_2"]
    {
        ensure!(known.iter().any(|test| test.starts_with(&format!("{story}_"))), "no test shows {story}");
    }
    Ok(())
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
