//! `omnirelay completions`.

use clap::ValueEnum;
use clap_complete::Shell;

use super::complete::script;
use super::entry::{CommandEntry, entry};
use crate::frame::prelude::*;

const LEAF: LeafCommand = LeafCommand::local("completions", "writes a script made from the command tree");
pub(crate) static ENTRY: CommandEntry = entry!("completions", CompletionsArgs, local, &[LEAF], &[]);

const EXAMPLES: &str = "\
Examples:
  source <(omnirelay completions bash)
  omnirelay completions zsh > \"${fpath[1]}/_omnirelay\"
  omnirelay completions fish > ~/.config/fish/completions/omnirelay.fish";

/// Print the completion script of a shell
///
/// The script asks `omnirelay` itself what could follow: commands and flags, and the ids of the peers
/// that the daemon of the context knows, if it answers within a quarter of a second.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When standard output does not take it.
fn run(args: &CompletionsArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let script = script(args.shell);
    let shell = args.shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let document = json!({"schemaVersion": "v1", "shell": shell, "script": script});
    session.show(&CommandOutput::lines(document, format!("completions/{shell}"), script))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
/// Every shell and the file its script is kept in.
pub(crate) static FILES: &[(Shell, &str)] = &[
    (Shell::Bash, "omnirelay.bash"),
    (Shell::Zsh, "_omnirelay"),
    (Shell::Fish, "omnirelay.fish"),
    (Shell::PowerShell, "omnirelay.ps1"),
    (Shell::Elvish, "omnirelay.elv"),
];
