//! Each word of the glossary leads to what it means: the type stands in the file that is named beside it.

use anyhow::{Context, Result, ensure};

use crate::repository::{File, Finding, files, refuse};

const GLOSSARY: &str = "docs/glossary.md";
/// What a name may be declared by, in Rust and in protos.
const DECLARES: [&str; 7] = ["struct", "enum", "trait", "type", "fn", "const", "message"];

/// The type and the file of each row, and its line.
fn rows(glossary: &File) -> Vec<(&str, &str, usize)> {
    let rows = glossary.text.lines().enumerate().filter_map(|(at, line)| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").skip(2);
        let mut code = || cells.next()?.strip_prefix('`')?.strip_suffix('`');
        Some((code()?, code()?, at + 1))
    });
    rows.collect()
}

fn misleading(glossary: &File, files: &[File]) -> Vec<Finding> {
    let declares = |file: &File, name: &str| {
        let words: Vec<&str> = file.text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.windows(2).any(|pair| DECLARES.contains(&pair[0]) && pair[1] == name)
    };
    let wrong = rows(glossary).into_iter().filter_map(|(name, path, line)| {
        match files.iter().find(|file| file.path == path) {
            None => Some(glossary.finding(line, format!("there is no file `{path}`"))),
            Some(file) if !declares(file, name) => {
                Some(glossary.finding(line, format!("`{path}` declares no `{name}`")))
            }
            Some(_) => None,
        }
    });
    wrong.collect()
}

#[test]
fn the_words_of_the_glossary_lead_somewhere() -> Result<()> {
    let files = files()?;
    let glossary = files.iter().find(|file| file.path == GLOSSARY).context("there is no glossary")?;
    ensure!(rows(glossary).len() > 30, "the rows were not found");
    refuse(&misleading(glossary, &files));
    Ok(())
}

#[test]
fn a_word_that_leads_nowhere_is_found() {
    let files =
        [File::planted("src/peer.rs", "/// A peer.\npub struct Peer<T> {}\npub fn cordon(peer: &Peer) {}\n")];
    let cases = [
        ("a type", "| peer | A node. | `Peer` | `src/peer.rs` |", 0),
        ("a function", "| cordon | An order. | `cordon` | `src/peer.rs` |", 0),
        ("the heading", "| word | meaning | type | file |\n| --- | --- | --- | --- |", 0),
        ("no such file", "| peer | A node. | `Peer` | `src/peers.rs` |", 1),
        ("named, not declared", "| T | A type. | `T` | `src/peer.rs` |", 1),
    ];
    for (what, text, expected) in cases {
        let found = misleading(&File::planted(GLOSSARY, text), &files);
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
