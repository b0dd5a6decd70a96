//! Problems of the mesh, as its check finds them, each with what to do next.

use super::super::cells::Tone;
use crate::frame::prelude::*;

/// Problem that the check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Problem {
    pub id: String,
    pub tone: Tone,
    pub message: String,
    /// What the daemon advises; may begin with a command.
    pub hint: String,
}

impl Problem {
    /// Problems in a report of the check, the worst first.
    pub(in crate::top) fn all_of(report: &Value) -> Vec<Self> {
        let checks = items(report, "categories").iter().flat_map(|category| items(category, "checks"));
        let mut problems: Vec<Self> = checks.filter_map(Self::of).collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.tone));
        problems
    }

    fn of(check: &Value) -> Option<Self> {
        let tone = match text(check, "result") {
            "fail" => Tone::Bad,
            "warn" => Tone::Warn,
            "unknown" => Tone::Held,
            _ => return None,
        };
        Some(Self {
            id: printable(text(check, "id")),
            tone,
            message: printable(text(check, "message")),
            hint: text(check, "hint").to_owned(),
        })
    }

    /// Command in the hint; `None`: it has none.
    pub(in crate::top) fn command(&self) -> Option<String> {
        let quoted = self.hint.split('`').nth(1).filter(|said| said.starts_with("omnirelay "));
        let alone = || Some(self.hint.as_str()).filter(|hint| hint.starts_with("omnirelay "));
        let command = quoted.or_else(alone)?;
        let command = command.split("    #").next().unwrap_or(command).split("; or ").next()?;
        Some(printable(command.lines().next()?.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_what_did_not_pass_and_bring_their_command() {
        let check = |id: &str, result: &str, hint: &str| json!({"id": id, "result": result, "message": id, "hint": hint});
        let report = json!({"categories": [
            {"checks": [check("a", "pass", ""), check("b", "warn", "omnirelay mesh peers list    # all")]},
            {"checks": [check("c", "fail", "run `omnirelay doctor`, then go on"), check("d", "skip", "")]},
            {"checks": [check("e", "unknown", "see to it")]},
        ]});
        let found: Vec<(String, Tone, Option<String>)> = Problem::all_of(&report)
            .into_iter()
            .map(|problem| (problem.id.clone(), problem.tone, problem.command()))
            .collect();
        let command = |command: &str| Some(command.to_owned());
        assert_eq!(
            found,
            [
                ("c".to_owned(), Tone::Bad, command("omnirelay doctor")),
                ("b".to_owned(), Tone::Warn, command("omnirelay mesh peers list")),
                ("e".to_owned(), Tone::Held, None),
            ]
        );
    }
}
