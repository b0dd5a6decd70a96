//! Tables at the top of a test binary that name its tests, and the tests that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

/// The rows of the tables: what is required, and the tests that show it.
pub fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
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
pub fn tests_in(text: &str) -> BTreeSet<String> {
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

/// The names of all tests below a folder.
pub fn collect(directory: &Path, into: &mut BTreeSet<String>) -> Result<()> {
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

/// The tests of a file, by the store that they are run on.
pub fn by_store(text: &str) -> BTreeMap<&'static str, BTreeSet<String>> {
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

/// As [`by_store`], of all files of a binary but the one that looks. The folder is below that of the package whose tests are run.
pub fn of_binary(folder: &str) -> Result<BTreeMap<&'static str, BTreeSet<String>>> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("coverage.rs") {
            for (store, names) in by_store(&std::fs::read_to_string(&path)?) {
                found.entry(store).or_default().extend(names);
            }
        }
    }
    Ok(found)
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
