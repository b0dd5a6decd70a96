//! Every link between the documents leads somewhere.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::repository::{File, Finding, files, refuse};

/// A link as written, and its line.
struct Link {
    target: String,
    line: usize,
}

/// The lines of a document that are prose, numbered from 1, code left out.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Every second piece between backticks is code.
            let pieces: Vec<&str> = line.split('`').step_by(2).collect();
            lines.push((at + 1, pieces.join("code")));
        }
    }
    lines
}

fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, prose) in prose(text) {
        let inline = prose.match_indices("](").filter_map(|(at, _)| prose[at + 2..].split(')').next());
        let defined =
            prose.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        for target in inline.chain(defined) {
            let target = target.split_whitespace().next().unwrap_or_default().to_owned();
            found.push(Link { target, line });
        }
    }
    found
}

/// The anchors of a document: its headings in lower case, with `-` for blanks and without punctuation.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced || !line.starts_with('#') {
            continue;
        }
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    found
}

/// `docs/guides/a.md` and `../b.md` make `docs/b.md`; `None` above the root.
fn join(from: &str, to: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in to.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The links between these documents that lead to none of these files, or to no heading there.
pub(crate) fn dead_links(files: &[File]) -> Vec<Finding> {
    let known: BTreeMap<&str, &str> =
        files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for link in links(&file.text) {
            if let Some(why) = why_dead(&known, file, &link.target) {
                found.push(file.finding(link.line, format!("link to `{}`: {why}", link.target)));
            }
        }
    }
    found
}

fn why_dead(known: &BTreeMap<&str, &str>, file: &File, target: &str) -> Option<&'static str> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { Some(file.path.clone()) } else { join(&file.path, path) };
    let Some(path) = path else { return Some("it leads out of the repository") };
    let folder = format!("{path}/");
    match known.get(path.as_str()) {
        Some(text) if anchor.is_empty() || anchors(text).contains(anchor) => None,
        Some(_) => Some("there is no such heading"),
        None if known.keys().any(|known| known.starts_with(&folder)) => None,
        None => Some("there is no such file"),
    }
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    refuse(&dead_links(&files()?));
    Ok(())
}

#[test]
fn a_dead_link_is_found() {
    let cases = [
        ("file", "[a](b.md)", 0),
        ("missing file", "[a](c.md)", 1),
        ("missing file with a title", "[a](c.md \"C\")", 1),
        ("heading", "[a](b.md#two-words-here)", 0),
        ("missing heading", "[a](b.md#three)", 1),
        ("own heading", "# One\n[a](#one)", 0),
        ("heading in code", "[a](b.md#no-heading)", 1),
        ("folder", "[a](../docs)", 0),
        ("above the root", "[a](../../b.md)", 1),
        ("reference", "[a]: c.md", 1),
        ("elsewhere", "[a](https://example.com/c.md)", 0),
        ("code", "`[a](c.md)`\n```\n[a](c.md)\n```\n", 0),
        ("two on a line", "[a](c.md) and [b](d.md)", 2),
    ];
    for (what, text, expected) in cases {
        let other = File::planted("docs/b.md", "# Two `words`: here\n```\n# no heading\n```\n");
        let found = dead_links(&[File::planted("docs/a.md", text), other]);
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
