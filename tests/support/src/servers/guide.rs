//! Servers and users as the guide of storage shows them.

use anyhow::{Context, Result};

const GUIDE: &str = include_str!("../../../../docs/guides/storage.md");

/// The command by which the guide makes its user of `whom`, as words.
pub fn user_of(whom: &str) -> Result<Vec<&'static str>> {
    let block = GUIDE.split("```text").skip(1).filter_map(|rest| rest.split("```").next());
    let mut found = block.filter_map(|block| block.trim().strip_prefix(&format!("# {whom}\n")));
    let command = found.next().with_context(|| format!("the guide has no user of {whom}"))?;
    let words = command.split_whitespace().map(|word| word.trim_end_matches('\\'));
    Ok(words.filter(|word| !word.is_empty()).collect())
}

/// The first block of text behind a sentence.
pub fn block_behind(sentence: &str) -> Result<&'static str> {
    let rest = GUIDE.split_once(sentence).with_context(|| format!("the guide does not say: {sentence}"))?.1;
    let block = rest.split_once("```text\n").and_then(|(_, rest)| rest.split_once("```"));
    Ok(block.context("no block of text")?.0)
}
