//! The subjects of commits: at most sixty characters, so that a list of them can be read.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::repository::root;

/// The longest subject, in characters.
const SUBJECT_MAX: usize = 60;
/// Older commits stay as they are.
const SINCE: &str = "2026-11-28T08:00:00Z";

/// The subjects in `log` that are too long, each with its length. A line is a commit's short hash, a space and its subject.
fn too_long(log: &str) -> Vec<String> {
    let subjects = log.lines().filter_map(|line| line.split_once(' '));
    let lengths = subjects.map(|(hash, subject)| (hash, subject, subject.chars().count()));
    lengths
        .filter(|(.., length)| *length > SUBJECT_MAX)
        .map(|(hash, subject, length)| {
            format!("{hash}: {length} characters, at most {SUBJECT_MAX}: {subject}")
        })
        .collect()
}

#[test]
fn a_subject_that_is_too_long_is_found() {
    let fits = "é".repeat(SUBJECT_MAX);
    assert!(too_long(&format!("4a07c614 {fits}\n")).is_empty());
    assert_eq!(too_long(&format!("4a07c614 {fits}\n98af6832 {fits}.\n")).len(), 1);
}

/// In a copy without a history there is nothing to read.
#[test]
fn subjects_of_commits_are_short() -> Result<()> {
    if !root().join(".git").exists() {
        return Ok(());
    }
    let since = format!("--since={SINCE}");
    let log = Command::new("git")
        .args(["-c", "safe.directory=*", "log", "--no-merges", "--format=%h %s", &since])
        .current_dir(root())
        .output()
        .context("run git, which a clone needs")?;
    anyhow::ensure!(log.status.success(), "git log: {}", String::from_utf8_lossy(&log.stderr));
    let found = too_long(&String::from_utf8_lossy(&log.stdout));
    assert!(found.is_empty(), "the subject says what, and the body why:\n{}", found.join("\n"));
    Ok(())
}
