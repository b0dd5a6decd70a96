//! Checks of this machine: what the command line itself needs.

use omnirelay_decisions::check::finding::{
    CheckDefinition, CheckResult, FactExaminer, FindingCategory, SKEW_WARN_MS,
};
use omnirelay_wire::reasons;

use crate::check::checked_mesh::CheckedFacts;
use crate::frame::context_file::ContextFile;
use crate::frame::error::CliError;

pub(crate) static CATEGORY: FindingCategory<FactExaminer<CheckedFacts>> = FindingCategory {
    name: "client",
    page: "guides/scripting.md",
    checks: &[
        CheckDefinition::new(
            "client-config",
            "the configuration file is valid and private",
            "The file with the contexts cannot be used as it is, or others can read it, and so learn where meshes are.",
            config,
        ),
        CheckDefinition::new(
            "client-clock",
            "this machine's clock agrees with the daemon's",
            "Ages that are shown, and --since with a duration, are wrong by the difference. Nothing in the mesh \
             depends on this machine's clock.",
            clock,
        ),
    ],
    items: &[],
};

fn config(facts: &CheckedFacts) -> CheckResult {
    file(&facts.config)
}

/// Judges the file with the contexts.
pub(crate) fn file(file: &Result<ContextFile, CliError>) -> CheckResult {
    let file = match file {
        Ok(file) => file,
        Err(error) if error.is(reasons::CONFIG_UNREADABLE) => {
            return CheckResult::unknown(error.body().message.clone());
        }
        Err(error) => {
            let cause = error.body().cause.clone().unwrap_or_default();
            return CheckResult::fail(format!("{}: {cause}", error.body().message))
                .hint(super::next_of(error, "mend it, or name another file with --config"));
        }
    };
    let path = file.path.display();
    match file.mode {
        None => CheckResult::pass("there is no configuration file; what is built in applies"),
        Some(mode) if file.is_loose() => {
            CheckResult::warn(format!("{path} can be read by others ({mode:04o})"))
                .hint(format!("chmod 600 {path}"))
        }
        Some(_) if !file.unknown_keys.is_empty() => {
            CheckResult::warn(format!("{path} has unknown keys: {}", file.unknown_keys.join(", ")))
                .hint(format!("take them out of {path}, or use the version that knows them"))
        }
        Some(mode) => CheckResult::pass(format!("{path} is valid and private ({mode:04o})")),
    }
}

fn clock(facts: &CheckedFacts) -> CheckResult {
    if facts.node.said.is_err() {
        return super::not_asked();
    }
    let Some(skew) = facts.skew_ms() else {
        return CheckResult::unknown("the daemon did not say what time it is");
    };
    let text = format!("clocks are {skew}ms apart (limit {SKEW_WARN_MS}ms)");
    let hint = "omnirelay doctor    # here, and on the daemon's host: what keeps the clock";
    CheckResult::of_skew(skew, text, format!("clocks are {skew}ms apart"), hint)
}
