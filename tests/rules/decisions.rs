//! Decision records are numbered without gaps, have the same headings, and stand in the index.

use anyhow::Result;

use crate::repository::{File, Finding, files, refuse};

const FOLDER: &str = "docs/decisions/";
const INDEX: &str = "docs/decisions/README.md";
const TEMPLATE: &str = "docs/decisions/template.md";
const STATES: [&str; 3] = ["Accepted", "Proposed", "Superseded by "];

fn headings(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("## ")).collect()
}

/// What stands below `## Status`.
fn status(text: &str) -> &str {
    let below = text.lines().skip_while(|line| *line != "## Status").skip(1);
    below.map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

fn irregular(files: &[File]) -> Vec<Finding> {
    let text_of =
        |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
    let (expected, index) = (headings(text_of(TEMPLATE)), text_of(INDEX));
    let records = files
        .iter()
        .filter(|file| file.is_below(FOLDER) && ![INDEX, TEMPLATE].contains(&file.path.as_str()))
        .enumerate();
    let mut found = Vec::new();
    for (at, file) in records {
        let name = file.path.trim_start_matches(FOLDER);
        let number = format!("{:04}-", at + 1);
        if !name.starts_with(&number) {
            found.push(
                file.finding(0, format!("its name begins with `{number}`: records are numbered in a row")),
            );
        }
        if headings(&file.text) != expected {
            found.push(file.finding(0, format!("its headings are those of {TEMPLATE}: {expected:?}")));
        }
        if !STATES.iter().any(|state| status(&file.text).starts_with(state)) {
            found.push(file.finding(0, format!("its status begins with one of {STATES:?}")));
        }
        if !index.contains(&format!("]({name})")) {
            found.push(file.finding(0, format!("{INDEX} does not link it")));
        }
    }
    found
}

#[test]
fn decision_records_are_regular() -> Result<()> {
    let files = files()?;
    anyhow::ensure!(!headings_of_template(&files).is_empty(), "{TEMPLATE} has no headings: was it moved?");
    refuse(&irregular(&files));
    Ok(())
}

fn headings_of_template(files: &[File]) -> Vec<&str> {
    files.iter().find(|file| file.path == TEMPLATE).map(|file| headings(&file.text)).unwrap_or_default()
}

#[test]
fn an_irregular_record_is_found() {
    let good = "# T\n\n## Status\n\nAccepted\n\n## Decision\n";
    let cases = [
        ("as it should be", "0001-a.md", good, 0),
        ("no number", "a.md", good, 2),
        ("a gap", "0002-a.md", good, 2),
        ("a heading too few", "0001-a.md", "## Status\n\nAccepted\n", 1),
        ("no status", "0001-a.md", "## Status\n\n## Decision\n", 1),
        ("not in the index", "0001-b.md", good, 1),
    ];
    for (what, name, text, expected) in cases {
        let files = [
            File::planted(&format!("{FOLDER}{name}"), text),
            File::planted(INDEX, "[a](0001-a.md)"),
            File::planted(TEMPLATE, "## Status\n## Decision\n"),
        ];
        let found = irregular(&files);
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
