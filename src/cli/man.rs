//! `omnirelay man`.

use std::io::Write as _;
use std::process::{Command as Process, Stdio};

use clap::Command;
use clap_mangen::Man;

use super::entry::{CommandEntry, entry};
use super::help::find_command;
use crate::frame::prelude::*;

const LEAF: LeafCommand = LeafCommand::local("man", "writes a page made from the command tree");
pub(crate) static ENTRY: CommandEntry = entry!("man", ManArgs, local, &[LEAF], &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay man
  omnirelay man mesh peers list
  omnirelay man mesh peers list > omnirelay-mesh-peers-list.1";

/// Show the manual page of a command
///
/// On a terminal it is shown by man(1); otherwise its source is printed.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// The command, word by word [default: omnirelay itself]
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

/// Shows or prints the page.
///
/// # Errors
/// Usage, when there is no such command; when standard output does not take the page.
fn run(args: &ManArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let root = built();
    let command = find_command(&root, &args.words)?;
    let page = page(command);
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    if session.format().is_text() && session.out.screen().tty && viewed(&page) {
        return Ok(Exit::Ok);
    }
    let document = json!({"schemaVersion": "v1", "name": name, "section": 1, "page": page});
    session.show(&CommandOutput::lines(document, format!("man/{name}"), page))?;
    Ok(Exit::Ok)
}

/// Whether man(1) was there and showed the page.
fn viewed(page: &str) -> bool {
    let Ok(mut viewer) = Process::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn() else {
        return false;
    };
    let Some(mut stdin) = viewer.stdin.take() else { return false };
    let written = stdin.write_all(page.as_bytes());
    drop(stdin);
    written.is_ok() && viewer.wait().is_ok_and(|status| status.success())
}

fn built() -> Command {
    let mut root = super::command();
    root.build();
    root
}

#[cfg(test)]
#[path = "man_daemon_test.rs"]
mod daemon;

#[cfg(test)]
/// Every page and the file it is kept in.
pub(crate) fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(&built(), &mut files);
    files.push(("omnirelayd.8".to_owned(), daemon::page()));
    files.push(("omnirelayd.yaml.5".to_owned(), daemon::configuration_page()));
    files
}

#[cfg(test)]
fn collect(command: &Command, files: &mut Vec<(String, String)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    files.push((format!("{name}.1"), page(command)));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, files);
    }
}

fn page(command: &Command) -> String {
    let man = Man::new(command.clone())
        .manual("OmniRelay")
        .source(concat!("omnirelay ", env!("CARGO_PKG_VERSION")));
    let mut bytes = Vec::new();
    // Writing into memory does not fail.
    let _ = man.render_title(&mut bytes);
    let _ = man.render_name_section(&mut bytes);
    let _ = man.render_synopsis_section(&mut bytes);
    let _ = man.render_description_section(&mut bytes);
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        let _ = man.render_options_section(&mut bytes);
    }
    if command.has_subcommands() {
        let _ = man.render_subcommands_section(&mut bytes);
    }
    let mut page = String::from_utf8_lossy(&bytes).into_owned();
    if let Some(examples) = command.get_before_long_help() {
        page.push_str(&verbatim("EXAMPLES", examples.to_string().trim_start_matches("Examples:\n")));
    }
    if let Some(footer) = command.get_after_long_help() {
        page.push_str(&verbatim("EXIT STATUS", &footer.to_string()));
    }
    page
}

/// A section whose lines stay as they are.
fn verbatim(heading: &str, text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        format!("{guard}{line}\n")
    };
    let lines: String = text.lines().map(line).collect();
    format!(".SH {heading}\n.nf\n{lines}.fi\n")
}
