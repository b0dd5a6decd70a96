//! Completion while a line is typed: a shell's script runs the program again to ask what could follow.
//!
//! A shell shows whatever is printed in the middle of the line being typed, so every failure here is
//! silence: no candidates, nothing on standard error, exit code 0.

mod cache;
mod kind;
mod list;
mod objects;
mod script;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap_complete::engine::{self, CompletionCandidate};

use super::arguments::written_out;
use super::frame::env::{self, EnvironmentVariables};

pub(crate) use self::kind::{CompletedKind, KnownObject};
pub(crate) use self::list::{actions, contexts, help_words, list};
pub(crate) use self::objects::{ids, named};
pub(crate) use self::script::script;

/// Answers a script of a shell that asks for candidates; `None` when this is an ordinary run.
///
/// `args` are those of the process: a script puts the words of the line behind `--`. Without that the
/// variable alone, left behind in an environment, turns no run into a completion.
pub(crate) fn answer(args: Vec<OsString>, env: &EnvironmentVariables) -> Option<ExitCode> {
    let shell = CandidateForm::of(env.get(env::COMPLETE)?)?;
    args.get(1).filter(|arg| *arg == "--")?;
    std::panic::set_hook(Box::new(|_| {}));
    let text = std::panic::catch_unwind(|| candidates(shell, words(args), env).unwrap_or_default());
    // A shell that has gone away needs no answer.
    let _ = std::io::stdout().write_all(text.unwrap_or_default().as_bytes());
    Some(ExitCode::SUCCESS)
}

/// The words of the line being completed, the program's name first.
fn words(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    args.into_iter().skip_while(|arg| arg != "--").skip(1).collect()
}

/// Form in which a shell wants its candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CandidateForm {
    /// Values alone.
    Plain,
    /// A tab before the description.
    Tab,
    /// A colon before the description, and those of the value escaped.
    Colon,
}

impl CandidateForm {
    /// The shell as its script names it.
    fn of(name: &str) -> Option<Self> {
        match name {
            "bash" | "elvish" => Some(Self::Plain),
            "fish" | "powershell" => Some(Self::Tab),
            "zsh" => Some(Self::Colon),
            _ => None,
        }
    }

    fn line(self, value: &str, candidate: &CompletionCandidate) -> String {
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        match (self, help) {
            (Self::Plain, _) | (Self::Tab, "") => value.to_owned(),
            (Self::Tab, help) => format!("{value}\t{help}"),
            (Self::Colon, help) => {
                let value = value.replace('\\', "\\\\").replace(':', "\\:");
                let help = help.replace('\\', "\\\\");
                if help.is_empty() { value } else { format!("{value}:{help}") }
            }
        }
    }
}

/// What could stand where the cursor is, a line each; `None` when the line cannot be understood.
fn candidates(shell: CandidateForm, mut words: Vec<OsString>, env: &EnvironmentVariables) -> Option<String> {
    // Without an index the cursor is in the last word.
    let index = env.get(env::COMPLETE_INDEX).and_then(|index| index.parse().ok());
    let index = index.unwrap_or(words.len().checked_sub(1)?);
    if words.len() <= index {
        words.resize(index.checked_add(1).filter(|&count| count <= WORDS_MAX)?, OsString::new());
    }
    let typed = words.get(index)?.to_string_lossy().into_owned();
    let many = words.len();
    // The word that is being typed is no command yet.
    let rest = words.split_off(index);
    let mut words = written_out(words);
    words.extend(rest);
    let index = index + (words.len() - many);
    let folder = std::env::current_dir().ok();
    let mut command = list::dressed(super::command_in(&words));
    let found = engine::complete(&mut command, words, index, folder.as_deref()).ok()?;
    // Thirty flags would hide the names among them; a hyphen shows them.
    let is_flag =
        |candidate: &CompletionCandidate| candidate.get_value().as_encoded_bytes().starts_with(b"-");
    let shown = found.iter().filter(|candidate| !(typed.is_empty() && is_flag(candidate)));
    Some(shown.map(|candidate| shell.line(&value(candidate, &typed), candidate) + "\n").collect())
}

/// What stands for `candidate`: of the names of a command the engine takes the first of the alphabet,
/// which may be an alias.
fn value(candidate: &CompletionCandidate, typed: &str) -> String {
    let name = candidate.get_id().and_then(|id| id.strip_prefix("command::"));
    match name.filter(|name| name.starts_with(typed)) {
        Some(name) => name.to_owned(),
        None => candidate.get_value().to_string_lossy().into_owned(),
    }
}

/// More words than this are no line that somebody types.
const WORDS_MAX: usize = 10_000;
