//! What a check is, and what it finds.

use serde_json::Value;

use super::facts::{Facts, Question};
use crate::cli::frame::error::CliError;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
    Skip,
    /// It could not be asked; that is no failure of what was to be checked.
    Unknown,
}

impl Verdict {
    /// As in `result`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Unknown => "unknown",
        }
    }
}

/// Clocks that differ by more make ages look wrong, in milliseconds.
pub const SKEW_WARN_MS: i64 = 250;
/// More than this is no clock.
const SKEW_FAIL_MS: i64 = 5_000;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    pub text: String,
    /// The command to run next.
    pub hint: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Self { verdict, text: text.into(), hint: None }
    }

    pub fn pass(text: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, text)
    }

    pub fn warn(text: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, text)
    }

    pub fn fail(text: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, text)
    }

    pub fn skip(text: impl Into<String>) -> Self {
        Self::new(Verdict::Skip, text)
    }

    pub fn unknown(text: impl Into<String>) -> Self {
        Self::new(Verdict::Unknown, text)
    }

    /// The report tells once, where it belongs, why nobody could be asked.
    pub fn not_asked() -> Self {
        Self::unknown("could not be asked")
    }

    /// What readiness says of one item, on all nodes that were asked: a warning, or `fine`. Daemons that do not know it
    /// are older than the check, or have no such part.
    pub fn of_item(facts: &Facts, name: &str, fine: &str, absent: &str) -> Self {
        match facts.trouble(name) {
            Some(trouble) => Self::warn(trouble),
            None if facts.has_item(name) => Self::pass(format!("{fine}{}", facts.coverage())),
            None => Self::skip(absent),
        }
    }

    /// Judges by how many milliseconds two clocks differ; `fine` is said where that is little.
    pub fn of_skew(ms: i64, text: String, fine: String, hint: &str) -> Self {
        match ms {
            SKEW_FAIL_MS.. => Self::fail(text).hint(hint),
            SKEW_WARN_MS.. => Self::warn(text).hint(hint),
            _ => Self::pass(fine),
        }
    }

    /// With what a failure says is to be done, or else this.
    #[must_use]
    pub fn hint_of(self, error: &CliError, or: &str) -> Self {
        let first = error.body().hints.first();
        self.hint(first.map_or(or, String::as_str))
    }

    /// With the command to run next, where something is wrong.
    #[must_use]
    pub fn next(self, hint: impl Into<String>) -> Self {
        if self.is_wrong() { self.hint(hint) } else { self }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether something was looked at and is not as it should be.
    pub fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Fail | Verdict::Warn)
    }

    /// Whether it is to be told where only what is wrong is.
    pub fn is_wrong(&self) -> bool {
        self.is_bad() || self.verdict == Verdict::Unknown
    }
}

/// What is judged.
#[derive(Clone, Copy)]
pub enum Judge {
    /// All that is known, and what is not.
    Facts(fn(&Facts) -> Finding),
    /// The answer to a question; where there is none, nothing is known.
    Answer(&'static Question, fn(&Value, &Facts) -> Finding),
    /// What the nodes that could be asked say of themselves, the one that answers first.
    Nodes(fn(&Facts) -> Finding),
}

/// One check. Its id is stable: scripts name it in `--skip`. What it judges is the mesh, unless it is said.
pub struct Check<J: 'static = Judge> {
    pub id: &'static str,
    /// What is so when it passes.
    pub description: &'static str,
    /// What it means when it is not so.
    pub means: &'static str,
    pub judge: J,
}

impl<J: Copy> Check<J> {
    pub const fn new(id: &'static str, description: &'static str, means: &'static str, judge: J) -> Self {
        Self { id, description, means, judge }
    }
}

impl Check {
    pub fn judge(&self, facts: &Facts) -> Finding {
        match self.judge {
            Judge::Facts(judge) => judge(facts),
            Judge::Answer(question, judge) => match facts.of(question) {
                Ok(answer) => judge(answer, facts),
                Err(_) => Finding::not_asked(),
            },
            Judge::Nodes(judge) if facts.node().is_ok() => judge(facts),
            Judge::Nodes(_) => Finding::not_asked(),
        }
    }

    /// How long what it judges took to find out, in milliseconds.
    pub fn took_ms(&self, facts: &Facts) -> u64 {
        match self.judge {
            Judge::Facts(_) => 0,
            Judge::Answer(question, _) => facts.took_ms(question),
            Judge::Nodes(_) => facts.nodes_ms,
        }
    }
}

/// Checks that belong together: those of the command line itself, or those that a noun brings.
pub struct Category<J: 'static = Judge> {
    /// As in `--category`.
    pub name: &'static str,
    /// What to read when one of them does not pass, below the root of the documents.
    pub page: &'static str,
    pub checks: &'static [Check<J>],
    /// The items of a node's readiness that are theirs; what nobody claims is judged by `nodes-fit`.
    pub items: &'static [&'static str],
}

impl<J> Category<J> {
    /// Whether a check of this category is named, or the category itself is.
    pub fn is_left_out(&self, check: &Check<J>, skip: &[String]) -> bool {
        skip.iter().any(|name| [check.id, self.name].contains(&name.as_str()))
    }

    /// A name that can be left out.
    ///
    /// # Errors
    /// The names that there are.
    pub fn skippable(
        text: &str,
        all: impl Iterator<Item = (&'static Self, &'static Check<J>)> + Clone,
    ) -> Result<String, String> {
        if all.clone().any(|(category, check)| [category.name, check.id].contains(&text)) {
            return Ok(text.to_owned());
        }
        let ids: Vec<&str> = all.map(|(_, check)| check.id).collect();
        Err(format!("there is no check `{text}`; checks: {}", ids.join(", ")))
    }
}
