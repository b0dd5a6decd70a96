//! The repository speaks of the project alone: no path of somebody's machine, no registry's host.

use anyhow::Result;

use crate::repository::{File, Finding, expect_findings, files, refuse};

/// Folders of a machine. Found as whole words only: `/workers` is none.
const FOLDERS: [&str; 2] = [concat!("/wo", "rk"), concat!("/ro", "ot")];

/// Where packages come from: the business of a machine's settings.
const HOSTS: [&str; 5] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("npmjs", ".org"),
    concat!("static.rust", "-lang.org"),
    concat!("proxy.golang", ".org"),
];

/// Written by cargo, which names the registry.
const LOCK: &str = "Cargo.lock";

fn strays(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        for word in FOLDERS.iter().filter(|folder| has_folder(line, folder)) {
            found.push(file.finding(at + 1, format!("`{word}` is a path of one machine")));
        }
        for word in HOSTS.iter().filter(|host| line.contains(**host)) {
            found.push(
                file.finding(at + 1, format!("`{word}`: where packages come from is a machine's setting")),
            );
        }
    }
    found
}

fn has_folder(line: &str, folder: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || "-_.}".contains(c);
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let behind = line[at + folder.len()..].chars().next();
        !before.is_some_and(is_name) && !behind.is_some_and(|c| c.is_alphanumeric() || "-_".contains(c))
    })
}

#[test]
fn the_text_is_of_the_project_alone() -> Result<()> {
    let texts = files()?.into_iter().filter(|file| file.path != LOCK);
    refuse(&texts.flat_map(|file| strays(&file)).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_stray_is_found() {
    let cases = [
        ("folder", format!("see `{}/a`", FOLDERS[0]), 1),
        ("folder at the end", format!("in {}", FOLDERS[1]), 1),
        ("longer name", format!("{}ers", FOLDERS[0]), 0),
        ("part of a path", format!("a{}/b", FOLDERS[0]), 0),
        ("variable before it", format!("${{HOME}}{}/b", FOLDERS[0]), 0),
        ("host", format!("https://{}/x", HOSTS[0]), 1),
        ("other host", "https://example.com".to_owned(), 0),
    ];
    for (what, text, expected) in cases {
        expect_findings(strays, &[(what, "a.md", &text, expected)]);
    }
}
