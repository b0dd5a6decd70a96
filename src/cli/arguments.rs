//! The arguments as they were typed: short forms are written out, and what was wrong with them is told.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _};

use super::frame::env::{self, EnvironmentVariables};
use super::frame::error::CliError;
use super::frame::output::ColorMode;
use super::{BESIDE, Cli, MESH, entries};

/// Rewrites `--json` to `--output=json`: with `-o`, the last of the two wins, at whatever level they stand.
pub(crate) fn last_output_wins(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut options = true;
    args.map(|arg| {
        options &= arg != "--";
        if options && arg == "--json" { "--output=json".into() } else { arg }
    })
    .collect()
}

/// Writes out a short form: what stands below `mesh` is found without that word, `omnirelay peers list`.
///
/// `args` begins with the name of the program.
pub(crate) fn written_out(mut args: Vec<OsString>) -> Vec<OsString> {
    if let Some(at) = command_at(&args)
        && is_below_mesh(&args[at].to_string_lossy())
    {
        args.insert(at, "mesh".into());
    }
    args
}

/// Where the first word stands that is neither an option nor its value.
fn command_at(args: &[OsString]) -> Option<usize> {
    // Mostly it is the first one, and no option has to be known.
    if !args.get(1)?.to_string_lossy().starts_with('-') {
        return Some(1);
    }
    let root = Cli::command();
    let takes_value = |wanted: &dyn Fn(&clap::Arg) -> bool| {
        root.get_arguments().any(|known| wanted(known) && known.get_action().takes_values())
    };
    let mut at = 1;
    while let Some(arg) = args.get(at) {
        let arg = arg.to_string_lossy();
        at += match (arg.strip_prefix("--"), arg.strip_prefix('-')) {
            (Some(""), _) => return None,
            (Some(long), _) if takes_value(&|known| known.get_long() == Some(long)) => 2,
            (Some(_), _) => 1,
            (None, Some(cluster)) => {
                // The first of them that takes a value has the rest as its value, or else the next word.
                let taking =
                    cluster.chars().position(|one| takes_value(&|known| known.get_short() == Some(one)));
                if taking.is_some_and(|at| at + 1 == cluster.chars().count()) { 2 } else { 1 }
            }
            (None, None) => return Some(at),
        };
    }
    None
}

fn is_below_mesh(word: &str) -> bool {
    let named = |name: &str, entries: &[&super::CommandEntry]| entries.iter().any(|entry| entry.name == name);
    if named(word, MESH) {
        return true;
    }
    let outline = |entry: &super::CommandEntry| (entry.outline)(clap::Command::new(entry.name));
    let aliased = |entry: &&super::CommandEntry| outline(entry).get_all_aliases().any(|alias| alias == word);
    word != "mesh" && !named(word, BESIDE) && MESH.iter().any(aliased)
}

/// Makes an error of ours of what the parser found wrong: its first line, why, and what to type instead.
pub(crate) fn usage_error(error: &clap::Error, args: &[String]) -> CliError {
    let text = error.render().to_string();
    let text = text.trim().trim_start_matches("error: ");
    let (message, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (mut cause, mut hints) = (Vec::new(), Vec::new());
    for line in rest.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.to_owned());
        } else if let Some(usage) =
            line.strip_prefix("Usage: ").filter(|_| error.kind() == ErrorKind::MissingRequiredArgument)
        {
            hints.push(usage.to_owned());
        } else if let Some(values) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            cause.push(values);
        } else if line.starts_with("Usage: ") || line.starts_with("For more information") {
            break;
        } else {
            cause.push(line);
        }
    }
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
    {
        // What begins alike is seldom what was meant.
        let meant = meant(word, args);
        if !meant.is_empty() {
            hints = meant;
        }
    }
    hints.push(format!("omnirelay {}--help", path(args)));
    let cause = cause.join(" ");
    let told = hints.into_iter().fold(CliError::usage(message), CliError::hint);
    if cause.is_empty() { told } else { told.cause(cause) }
}

/// The commands that were typed and exist, each with a blank behind it.
fn path(args: &[String]) -> String {
    let mut command = super::command();
    let mut path = String::new();
    for arg in args.iter().skip(1).filter(|arg| !arg.starts_with('-')) {
        let Some(below) = command.find_subcommand(arg) else { continue };
        path.push_str(&format!("{} ", below.get_name()));
        command = below.clone();
    }
    path
}

/// Verbs that other command lines put before the noun, or call otherwise, and ours.
const VERBS: &[(&str, &str)] = &[
    ("get", "list"),
    ("list", "list"),
    ("ls", "list"),
    ("describe", "get"),
    ("show", "get"),
    ("inspect", "get"),
    ("watch", "watch"),
    ("tail", "watch"),
    ("logs", "watch"),
    ("delete", "delete"),
    ("rm", "delete"),
    ("cordon", "cordon"),
    ("uncordon", "uncordon"),
    ("drain", "drain"),
    ("label", "label"),
];

/// Words of other command lines, and ours.
const WORDS: &[(&str, &str)] = &[
    ("nodes", "omnirelay mesh peers list"),
    ("node", "omnirelay mesh peers list"),
    ("members", "omnirelay mesh peers list"),
    ("member", "omnirelay mesh peers list"),
    ("health", "omnirelay mesh check"),
    ("info", "omnirelay mesh status"),
    ("leader", "omnirelay mesh leaders list"),
    ("elect", "omnirelay mesh leaders create SCOPE"),
    ("config", "omnirelay context list, or omnirelayd config print"),
    ("agent", "omnirelay agents list, or omnirelay up for a mesh on this machine"),
    ("start", "omnirelay up"),
    ("run", "omnirelay up"),
    ("dev-mesh", "omnirelay up"),
    ("stop", "omnirelay down"),
    ("login", "omnirelay context set NAME --token-file FILE"),
    ("watch", "omnirelay mesh peers watch"),
    ("logs", "the log of a daemon: journalctl -u omnirelayd"),
    ("import", "omnirelay registers import -f FILE"),
    ("completion", "omnirelay completions SHELL"),
];

/// The commands that `word` may have stood for.
fn meant(word: &str, args: &[String]) -> Vec<String> {
    let noun = args.iter().skip_while(|arg| *arg != word).nth(1);
    let verb = VERBS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
    let of_noun = verb.zip(noun).and_then(|(verb, noun)| with_verb(noun, verb));
    let known = WORDS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| (*ours).to_owned());
    let verb_alone = verb.filter(|_| noun.is_none()).map(with_this_verb);
    of_noun.map(|found| vec![found]).or(verb_alone).unwrap_or_else(|| known.into_iter().collect())
}

/// `omnirelay mesh peers list`, of a noun by any of its names and a verb that it has.
fn with_verb(noun: &str, verb: &str) -> Option<String> {
    let is_noun = |command: &Command| {
        let singular = command.get_name().trim_end_matches('s') == noun;
        singular || command.get_name() == noun || command.get_all_aliases().any(|alias| alias == noun)
    };
    let entry = entries().find(|entry| is_noun(&entry.command()))?;
    let verb = entry.command().find_subcommand(verb)?.get_name().to_owned();
    Some(format!("omnirelay {}{} {verb}", area(entry), entry.name))
}

fn with_this_verb(verb: &str) -> Vec<String> {
    const SHOWN_MAX: usize = 4;
    let with = entries().filter(|entry| entry.command().find_subcommand(verb).is_some());
    with.take(SHOWN_MAX).map(|entry| format!("omnirelay {}{} {verb}", area(entry), entry.name)).collect()
}

fn area(entry: &super::CommandEntry) -> &'static str {
    if MESH.iter().any(|known| known.name == entry.name) { "mesh " } else { "" }
}

/// Color mode that `--color` says on a command line that was not understood.
pub(crate) fn colour_of(args: &[String]) -> ColorMode {
    let after = args.iter().position(|arg| arg == "--color").and_then(|at| args.get(at + 1));
    let joined = args.iter().find_map(|arg| arg.strip_prefix("--color="));
    match after.map(String::as_str).or(joined) {
        Some("always") => ColorMode::Always,
        Some("never") => ColorMode::Never,
        _ => ColorMode::Auto,
    }
}

/// Whether a command line that was not understood asks for JSON.
pub(crate) fn asks_for_json(args: &[String], env: &EnvironmentVariables) -> bool {
    let mut format = env.get(env::OUTPUT).unwrap_or_default();
    for (at, arg) in args.iter().enumerate() {
        let next = args.get(at + 1).map(String::as_str).unwrap_or_default();
        match arg.as_str() {
            "-o" | "--output" => format = next,
            joined => {
                if let Some(value) = joined.strip_prefix("--output=").or_else(|| joined.strip_prefix("-o")) {
                    format = value;
                }
            }
        }
    }
    matches!(format, "json" | "jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn usage_errors_know_when_json_is_wanted() {
        let env = EnvironmentVariables::default();
        for (line, expected) in [
            ("omnirelay mesh -o json --nope", true),
            ("omnirelay mesh --output=jsonl --nope", true),
            ("omnirelay mesh -ojson --nope", true),
            ("omnirelay mesh -o json -o yaml --nope", false),
            ("omnirelay mesh --nope", false),
        ] {
            assert_eq!(asks_for_json(&words(line), &env), expected, "{line}");
        }
    }

    #[test]
    fn what_stands_below_mesh_is_found_without_that_word() {
        for (typed, expected) in [
            ("omnirelay peers list", "omnirelay mesh peers list"),
            ("omnirelay -c peers p list", "omnirelay -c peers mesh p list"),
            (
                "omnirelay -q --context peers -o json status",
                "omnirelay -q --context peers -o json mesh status",
            ),
            ("omnirelay --context=peers -ojson check", "omnirelay --context=peers -ojson mesh check"),
            ("omnirelay -qo json peers list", "omnirelay -qo json mesh peers list"),
            ("omnirelay -vojson peers list", "omnirelay -vojson mesh peers list"),
            ("omnirelay mesh peers list", "omnirelay mesh peers list"),
            ("omnirelay registers status", "omnirelay registers status"),
            ("omnirelay help peers", "omnirelay help peers"),
            ("omnirelay -- peers", "omnirelay -- peers"),
            ("omnirelay --context", "omnirelay --context"),
            ("omnirelay nothing peers", "omnirelay nothing peers"),
        ] {
            let args = words(typed).into_iter().map(OsString::from).collect();
            let found: Vec<String> =
                written_out(args).into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
            assert_eq!(found, words(expected), "{typed}");
        }
    }

    #[test]
    fn words_of_other_command_lines_lead_to_ours() {
        for (typed, expected) in [
            ("omnirelay get peers", "omnirelay mesh peers list"),
            ("omnirelay describe peer", "omnirelay mesh peers get"),
            ("omnirelay delete register", "omnirelay registers delete"),
            ("omnirelay drain", "omnirelay mesh peers drain"),
            ("omnirelay members", "omnirelay mesh peers list"),
            ("omnirelay stop", "omnirelay down"),
        ] {
            let args = words(typed);
            assert_eq!(meant(&args[1], &args).first().map(String::as_str), Some(expected), "{typed}");
        }
        assert_eq!(meant("frobnicate", &words("omnirelay frobnicate")), Vec::<String>::new());
    }
}
