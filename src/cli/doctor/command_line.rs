//! Checks of what the command line itself needs of this machine.

use std::path::{Path, PathBuf};

use omnirelay_decisions::check::finding::{CheckDefinition, CheckResult, FactExaminer, FindingCategory};

use crate::check::client;
use crate::frame::context_file::ContextFile;
use crate::frame::error::{CliError, chain};

/// Facts about the command line.
pub(crate) struct CommandLineFacts {
    pub contexts: Result<ContextFile, CliError>,
    /// The folder of the contexts, and why it cannot be written.
    pub home: (PathBuf, Result<(), String>),
}

pub(crate) static CATEGORIES: &[&FindingCategory<FactExaminer<CommandLineFacts>>] = &[&CATEGORY];

static CATEGORY: FindingCategory<FactExaminer<CommandLineFacts>> = FindingCategory {
    name: "command-line",
    page: "guides/scripting.md",
    checks: &[
        CheckDefinition::new(
            "doctor-contexts",
            "the file of contexts is valid and private",
            "The file with the contexts cannot be used as it is, or others can read it, and so learn where meshes are.",
            |command_line| client::file(&command_line.contexts),
        ),
        CheckDefinition::new(
            "doctor-home",
            "the folder of contexts can be written",
            "No context can be written, so that `omnirelay up` makes none and completion keeps nothing. Addresses can \
             still be given with --addr.",
            home,
        ),
    ],
    items: &[],
};

impl CommandLineFacts {
    /// Looks at what there is.
    pub(crate) fn examine(contexts: Result<ContextFile, CliError>, path: &Path) -> Self {
        Self { contexts, home: home_of(path) }
    }
}

/// Whether the folder of this file can be written, or made.
fn home_of(contexts: &Path) -> (PathBuf, Result<(), String>) {
    let folder =
        std::path::absolute(contexts).unwrap_or_default().parent().map(Path::to_path_buf).unwrap_or_default();
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let can = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).map_err(|error| chain(&error));
    (folder, can)
}

fn home(command_line: &CommandLineFacts) -> CheckResult {
    let (folder, can) = &command_line.home;
    let path = folder.display();
    match can {
        Ok(()) => CheckResult::pass(format!("{path} can be written")),
        Err(why) => CheckResult::warn(format!("{path} cannot be written: {why}"))
            .hint("name a file that can be written with OMNIRELAY_CONFIG"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use omnirelay_decisions::check::finding::CheckVerdict;

    #[test]
    fn what_is_loose_or_cannot_be_written_is_told() {
        let found = |command_line: &CommandLineFacts, id: &str| {
            let check = CATEGORY.checks.iter().find(|check| check.id == id).unwrap();
            (check.judge)(command_line)
        };
        let fit =
            || CommandLineFacts { contexts: Ok(ContextFile::default()), home: ("/home/a".into(), Ok(())) };
        for check in CATEGORY.checks {
            assert_eq!((check.judge)(&fit()).verdict, CheckVerdict::Pass, "{}", check.id);
        }
        let mut loose = ContextFile::default();
        loose.mode = Some(0o644);
        let loose = found(&CommandLineFacts { contexts: Ok(loose), ..fit() }, "doctor-contexts");
        assert!(loose.verdict == CheckVerdict::Warn && loose.text.contains("0644"), "{loose:?}");
        let homeless = CommandLineFacts { home: ("/home/a".into(), Err("read-only".into())), ..fit() };
        let homeless = found(&homeless, "doctor-home");
        assert!(
            homeless.verdict == CheckVerdict::Warn && homeless.text.contains("read-only"),
            "{homeless:?}"
        );
        assert!(loose.hint.is_some() && homeless.hint.is_some());
    }
}
