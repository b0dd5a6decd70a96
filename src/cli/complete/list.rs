//! Completion of words that the program knows by itself: columns, fields of filters, contexts, actions, reasons.

use std::ffi::OsStr;

use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::objects;
use crate::arguments::written_out;
use crate::frame::context_file::{Context, ContextFile};
use crate::frame::env::EnvironmentVariables;
use crate::frame::rpc::LeafCommand;
use crate::frame::settings::CommandSettings;
use crate::frame::watch::until;
use crate::help;

/// Completes words of `known`, separated by commas: each once.
pub(crate) fn list(known: fn() -> Vec<String>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| candidates(typed, known()))
}

/// The command tree with completers for the flags that many commands share.
pub(super) fn dressed(command: Command) -> Command {
    let of = |arg: Arg| match arg.get_id().as_str() {
        "columns" => arg.add(columns()),
        "sort_by" => arg.add(sort_keys()),
        "filter" => arg.add(filters()),
        "until" => arg.add(conditions()),
        "context" => arg.add(contexts()),
        _ => arg,
    };
    command.mut_args(of).mut_subcommands(dressed)
}

/// Completes the columns of the command's table.
fn columns() -> ArgValueCompleter {
    list(|| leaf().map(column_names).unwrap_or_default())
}

/// Completes what its table is sorted by.
fn sort_keys() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let typed = typed.to_string_lossy();
        let names = leaf().map(column_names).unwrap_or_default();
        let keys = names.iter().flat_map(|name| [name.clone(), format!("{name}:desc")]);
        let fit = keys.filter(|key| key.starts_with(&*typed) && (typed.contains(':') || !key.contains(':')));
        fit.map(CompletionCandidate::new).collect()
    })
}

/// Completes the fields that its list is filtered by, and behind `FIELD=` the words that it may be.
fn filters() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let fields = leaf().map(|leaf| leaf.filters).unwrap_or_default();
        let begun = typed.to_string_lossy().rsplit(',').next().unwrap_or_default().to_owned();
        let known = match begun.split_once('=') {
            Some((field, _)) if fields.contains(&field) => {
                values_of(field).iter().map(|value| format!("{field}={value}")).collect()
            }
            Some(_) => Vec::new(),
            None => fields.iter().map(|name| format!("{name}=")).collect(),
        };
        candidates(typed, known)
    })
}

/// The words that a field of a filter may be, where it has words.
fn values_of(field: &str) -> &'static [&'static str] {
    match field {
        "status" => &["alive", "suspect", "dead", "left"],
        "health" => &["alive", "suspect", "dead", "left", "unknown"],
        "advertise" => &["true", "false"],
        _ => &[],
    }
}

/// Completes a command or a topic, word by word.
pub(crate) fn help_words() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let words: Vec<String> = super::words(std::env::args_os())
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let behind = words.iter().position(|word| word == "help").map_or(words.len(), |at| at + 1);
        // The last one is being typed.
        let before = words.get(behind..words.len().saturating_sub(1)).unwrap_or_default();
        let before: Vec<String> = before.iter().filter(|word| !word.starts_with('-')).cloned().collect();
        let fit =
            help::offered(&before).into_iter().filter(|word| word.starts_with(&*typed.to_string_lossy()));
        fit.map(CompletionCandidate::new).collect()
    })
}

/// Completes what its watch can wait for.
fn conditions() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let calls = leaf().map(|leaf| leaf.calls).unwrap_or_default();
        let watch = calls.iter().find(|call| call.method.ends_with("/Watch")).or(calls.first());
        let known = watch.map(|watch| until::offered(watch, &typed.to_string_lossy()));
        known.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Completes the names of contexts.
pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let words = super::words(std::env::args_os());
        let settings = CommandSettings::resolve(&objects::flags(&words), EnvironmentVariables::of_process());
        let file = settings.ok().and_then(|settings| ContextFile::load(&settings.config_path).ok());
        let names = file.map(|file| file.contexts).unwrap_or_default();
        let fit = names.iter().filter(|context| context.name.starts_with(&*typed.to_string_lossy()));
        let address = |context: &Context| context.addresses.first().map(|address| address.to_string().into());
        fit.map(|context| CompletionCandidate::new(context.name.clone()).help(address(context))).collect()
    })
}

/// Completes what the audit trail calls what was done.
pub(crate) fn actions() -> ArgValueCompleter {
    list(|| omnirelay_decisions::audit_names::actions().into_iter().map(str::to_owned).collect())
}

/// The command of the line.
fn leaf() -> Option<&'static LeafCommand> {
    let typed = written_out(super::words(std::env::args_os()));
    let words: Vec<&str> = typed.iter().skip(1).filter_map(|word| word.to_str()).collect();
    // Flags and their values may stand between the words of a command.
    let is_of = |leaf: &&LeafCommand| {
        let mut rest = words.iter();
        leaf.path.split(' ').all(|part| rest.any(|word| *word == part || part == "list" && *word == "ls"))
    };
    crate::leaves().filter(is_of).max_by_key(|leaf| leaf.path.len())
}

fn column_names(leaf: &LeafCommand) -> Vec<String> {
    leaf.columns.iter().map(|column| column.name.to_owned()).collect()
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
