//! What a dependency may be, as `deny.toml` says: where it comes from, how it is licensed, and which do not come in.
//!
//! Advisories change without a commit, so they are looked at by `just deny` and not here.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::repository::{File, Finding, files, refuse, root};

const LISTS: &str = "deny.toml";
const LOCK: &str = "Cargo.lock";

/// What comes from the registry of packages, whatever its address is.
const REGISTRY: &str = "registry+";

/// The licences that may come, and the packages that may not.
struct Lists {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Lists {
    fn read(file: &File) -> Self {
        let behind = |key: &str| {
            let list = file.text.split_once(key).and_then(|(_, rest)| rest.split_once("\n]"));
            list.map(|(list, _)| list.lines().map(str::trim).filter(|line| !line.starts_with('#')))
        };
        let licences = behind("\nallow = [").into_iter().flatten().filter_map(quoted);
        let banned =
            behind("\ndeny = [").into_iter().flatten().filter_map(|line| line.split_once("crate = "));
        Self { licences: licences.collect(), banned: banned.filter_map(|(_, name)| quoted(name)).collect() }
    }

    /// Whether a package may be used under an SPDX expression.
    fn allow(&self, expression: &str) -> bool {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let (allowed, rest) = self.any(&words);
        allowed && rest.is_empty()
    }

    fn any<'w>(&self, words: &'w [&'w str]) -> (bool, &'w [&'w str]) {
        let (mut allowed, mut rest) = self.all(words);
        while let Some(("OR", behind)) = rest.split_first().map(|(word, behind)| (*word, behind)) {
            let (other, behind) = self.all(behind);
            (allowed, rest) = (allowed || other, behind);
        }
        (allowed, rest)
    }

    fn all<'w>(&self, words: &'w [&'w str]) -> (bool, &'w [&'w str]) {
        let (mut allowed, mut rest) = self.one(words);
        while let Some(("AND", behind)) = rest.split_first().map(|(word, behind)| (*word, behind)) {
            let (other, behind) = self.one(behind);
            (allowed, rest) = (allowed && other, behind);
        }
        (allowed, rest)
    }

    fn one<'w>(&self, words: &'w [&'w str]) -> (bool, &'w [&'w str]) {
        match words {
            ["(", inner @ ..] => {
                let (allowed, rest) = self.any(inner);
                match rest {
                    [")", rest @ ..] => (allowed, rest),
                    _ => (false, rest),
                }
            }
            [licence, "WITH", exception, rest @ ..] => {
                (self.licences.contains(&format!("{licence} WITH {exception}")), rest)
            }
            [licence, rest @ ..] => (self.licences.contains(*licence), rest),
            [] => (false, words),
        }
    }
}

/// The text between the first two quotation marks.
fn quoted(text: &str) -> Option<String> {
    text.split('"').nth(1).map(str::to_owned)
}

/// The packages of the lock file that come from elsewhere, or do not come in.
fn unwanted(lock: &File, lists: &Lists) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut name = String::new();
    for (at, line) in lock.text.lines().enumerate() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = quoted(value).unwrap_or_default();
            if lists.banned.contains(&name) {
                found.push(lock.finding(at + 1, format!("`{name}`: {LISTS} says why it does not come in")));
            }
        }
        let source = line.strip_prefix("source = ").and_then(quoted);
        if source.is_some_and(|source| !source.starts_with(REGISTRY)) {
            found.push(lock.finding(at + 1, format!("`{name}` does not come from the registry")));
        }
    }
    found
}

/// The packages of `metadata` whose licence is not one that may come.
fn unlicensed(metadata: &Value, lists: &Lists) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter(|package| !package["license"].as_str().is_some_and(|licence| lists.allow(licence)))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect()
}

/// What cargo knows of every package that is built here.
fn metadata() -> Result<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let host = Command::new(&cargo).args(["-vV"]).output()?;
    let host = String::from_utf8(host.stdout)?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo has no host")?;
    let asked = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host];
    let told = Command::new(&cargo).args(asked).current_dir(root()).output()?;
    ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    Ok(serde_json::from_slice(&told.stdout)?)
}

fn lists() -> Result<Lists> {
    let file = files()?.into_iter().find(|file| file.path == LISTS);
    let lists = Lists::read(&file.with_context(|| format!("there is no {LISTS}"))?);
    ensure!(lists.licences.len() > 5 && lists.banned.len() > 5, "the lists of {LISTS} were not found");
    Ok(lists)
}

#[test]
fn dependencies_come_from_the_registry_and_none_is_banned() -> Result<()> {
    let lock = files()?.into_iter().find(|file| file.path == LOCK);
    refuse(&unwanted(&lock.with_context(|| format!("there is no {LOCK}"))?, &lists()?));
    Ok(())
}

#[test]
fn dependencies_have_a_licence_that_may_come() -> Result<()> {
    let metadata = metadata()?;
    let count = metadata["packages"].as_array().map_or(0, Vec::len);
    ensure!(count > 100, "{count} packages: not all were told");
    let found = unlicensed(&metadata, &lists()?);
    ensure!(found.is_empty(), "the rule does not hold here:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn unwanted_dependencies_are_found() {
    let text = "\nallow = [\n    \"MIT\",\n    # Data.\n    \"A WITH e\",\n]\n\ndeny = [\n    { crate = \"bad\", reason = \"\" },\n]\n";
    let lists = Lists::read(&File::planted(LISTS, text));
    let expressions = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND MIT", true),
        ("MIT AND (GPL-3.0 OR ISC)", false),
        ("A WITH e", true),
        ("A", false),
        ("MIT )", false),
        ("", false),
    ];
    for (expression, expected) in expressions {
        assert_eq!(lists.allow(expression), expected, "{expression}");
    }
    let lock = "name = \"a\"\nsource = \"registry+https://x\"\nname = \"bad\"\nname = \"b\"\nsource = \"git+https://x\"\nname = \"own\"\n";
    let lines: Vec<usize> =
        unwanted(&File::planted(LOCK, lock), &lists).iter().map(|found| found.line).collect();
    assert_eq!(lines, [3, 5]);
    let metadata = serde_json::json!({"packages": [
        {"name": "a", "license": "MIT"}, {"name": "b", "license": null}, {"name": "c", "license": "ISC"},
    ]});
    assert_eq!(unlicensed(&metadata, &lists).len(), 2);
}
