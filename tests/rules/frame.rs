//! What commands are made of needs no command: the code of `src/cli/frame` names nothing of the command line but what
//! stands there.

use anyhow::{Result, ensure};

use crate::paths::{paths, reaches};
use crate::repository::{File, Finding, refuse, rust_files};
use crate::tokens::code;

const FRAME: &str = "src/cli/frame/";
const OWN: &str = "omnirelay_cli::frame";

fn of_commands(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        for named in paths(file, code(file)) {
            let of_frame = named.path == OWN || named.path.starts_with(&format!("{OWN}::"));
            if reaches(&named.path, "omnirelay_cli") && !of_frame {
                found.push(
                    file.finding(named.line, format!("`{}` is above what commands are made of", named.path)),
                );
            }
        }
    }
    found
}

#[test]
fn the_frame_names_no_command() -> Result<()> {
    let files = rust_files(FRAME)?;
    ensure!(files.len() > 10, "{} files of the frame", files.len());
    refuse(&of_commands(&files));
    Ok(())
}

#[test]
fn a_command_in_the_frame_is_found() {
    let cases = [
        ("its own", "use super::error::CliError; use crate::frame::output::CommandOutput;", 0),
        ("all of its own", "use crate::frame;", 0),
        ("another crate", "use omnirelay_wire::fault::Exit;", 0),
        ("a command", "use crate::peers::LIST;", 1),
        ("a command in place", "fn f() { super::super::up::run() }", 1),
        ("all at once", "use crate::*;", 1),
        ("in a test", "#[cfg(test)] mod tests { use crate::peers; }", 0),
    ];
    for (what, text, expected) in cases {
        let found = of_commands(&[File::planted(&format!("{FRAME}a.rs"), text)]);
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
