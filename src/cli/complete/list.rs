//! Completion of words that the program knows by itself: columns, fields of filters, types of events.

use std::ffi::OsStr;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

/// Completes words of `known`, separated by commas: each once.
pub fn list(known: fn() -> Vec<String>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| candidates(typed, known()))
}

fn candidates(typed: &OsStr, known: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let (before, begun) = typed.rsplit_once(',').map_or(("", &*typed), |(before, begun)| (before, begun));
    let given: Vec<&str> = before.split(',').collect();
    let fit = known.iter().filter(|word| word.starts_with(begun) && !given.contains(&word.as_str()));
    let comma = if typed.contains(',') { "," } else { "" };
    fit.map(|word| CompletionCandidate::new(format!("{before}{comma}{word}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_list_is_completed_and_none_twice() {
        let known = || vec!["peers".to_owned(), "peers.added".to_owned(), "store".to_owned()];
        let offered = |typed: &str| -> Vec<String> {
            let candidates = candidates(OsStr::new(typed), known());
            candidates.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(offered("p"), ["peers", "peers.added"]);
        assert_eq!(offered("peers,"), ["peers,peers.added", "peers,store"]);
        assert_eq!(offered("peers,s"), ["peers,store"]);
        assert!(offered("x").is_empty());
    }
}
