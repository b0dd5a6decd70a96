//! Findings: what a check is, and what it finds.

use super::facts::{MeshFacts, RegistryFacts};

/// Verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckVerdict {
    Pass,
    Warn,
    Fail,
    Skip,
    /// It could not be looked at; that is no failure of what was to be checked.
    Unknown,
}

impl CheckVerdict {
    pub const ALL: [Self; 5] = [Self::Pass, Self::Warn, Self::Fail, Self::Skip, Self::Unknown];

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

    /// Whether something was looked at and is not as it should be.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Warn)
    }

    /// Whether it is to be told where only what is wrong is.
    pub fn is_wrong(self) -> bool {
        self.is_bad() || self == Self::Unknown
    }
}

/// Clocks that differ by more make ages look wrong, in milliseconds.
pub const SKEW_WARN_MS: u64 = 250;
/// More than this is no clock.
const SKEW_FAIL_MS: u64 = 5_000;

/// Result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    pub verdict: CheckVerdict,
    pub text: String,
    /// The command to run next.
    pub hint: Option<String>,
    /// The nodes by whose word it is so; empty: by the registry, or by whoever judges.
    pub seen_by: Vec<String>,
    /// The nodes that it is about; empty: the mesh.
    pub about: Vec<String>,
}

impl CheckResult {
    /// One that is by nobody's word and says nothing of what is next.
    pub fn new(verdict: CheckVerdict, text: impl Into<String>) -> Self {
        Self { verdict, text: text.into(), hint: None, seen_by: Vec::new(), about: Vec::new() }
    }

    pub fn pass(text: impl Into<String>) -> Self {
        Self::new(CheckVerdict::Pass, text)
    }

    pub fn warn(text: impl Into<String>) -> Self {
        Self::new(CheckVerdict::Warn, text)
    }

    pub fn fail(text: impl Into<String>) -> Self {
        Self::new(CheckVerdict::Fail, text)
    }

    pub fn skip(text: impl Into<String>) -> Self {
        Self::new(CheckVerdict::Skip, text)
    }

    pub fn unknown(text: impl Into<String>) -> Self {
        Self::new(CheckVerdict::Unknown, text)
    }

    /// Result from one item of readiness on all nodes that were asked: `bad` where it is not fine on one, else a pass
    /// with the text `fine`. Daemons that do not know it are older than the check, or have no such part: `absent`.
    pub fn of_item(facts: &MeshFacts, name: &str, bad: CheckVerdict, fine: &str, absent: &str) -> Self {
        if let Some((text, by)) = facts.trouble(name) {
            return Self::new(bad, text).seen_by(by);
        }
        match facts.with_item(name) {
            by if by.is_empty() => Self::skip(absent),
            by => Self::pass(format!("{fine}{}", facts.coverage(by.len()))).seen_by(by),
        }
    }

    /// Judges by how many milliseconds two clocks differ; `fine` is said where that is little.
    pub fn of_skew(ms: u64, text: String, fine: String, hint: &str) -> Self {
        match ms {
            SKEW_FAIL_MS.. => Self::fail(text).hint(hint),
            SKEW_WARN_MS.. => Self::warn(text).hint(hint),
            _ => Self::pass(fine),
        }
    }

    /// With the command to run next, where something is wrong.
    #[must_use]
    pub fn next(self, hint: impl Into<String>) -> Self {
        if self.verdict.is_wrong() { self.hint(hint) } else { self }
    }

    /// With the command to run next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// By the word of these nodes.
    #[must_use]
    pub fn seen_by<T: Into<String>>(mut self, nodes: impl IntoIterator<Item = T>) -> Self {
        self.seen_by = distinct(nodes);
        self
    }

    /// About these nodes.
    #[must_use]
    pub fn about<T: Into<String>>(mut self, nodes: impl IntoIterator<Item = T>) -> Self {
        self.about = distinct(nodes);
        self
    }

    /// About the nodes by whose word it is: they say it of themselves.
    #[must_use]
    pub fn about_themselves(self) -> Self {
        let nodes = self.seen_by.clone();
        self.about(nodes)
    }
}

/// The names, each once and in order.
fn distinct<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Function that judges a mesh, by the facts that it needs.
#[derive(Clone, Copy)]
pub enum CheckJudge {
    /// What the registry has; nothing is known before it was loaded.
    Registry(fn(&RegistryFacts, &MeshFacts) -> CheckResult),
    /// What the registry has of leases and of what hangs on them, which a node does not know whose store is silent.
    Leases(fn(&RegistryFacts, &MeshFacts) -> CheckResult),
    /// What the nodes that were asked say of themselves and of each other.
    Nodes(fn(&MeshFacts) -> CheckResult),
}

/// Judges facts that are no mesh's.
pub type FactExaminer<F> = fn(&F) -> CheckResult;

/// One check. Its id is stable: scripts name it in `--skip`. What it judges is the mesh, unless it is said.
pub struct CheckDefinition<J: 'static = CheckJudge> {
    pub id: &'static str,
    /// What is so when it passes.
    pub description: &'static str,
    /// What it means when it is not so.
    pub means: &'static str,
    pub judge: J,
}

impl<J: Copy> CheckDefinition<J> {
    pub const fn new(id: &'static str, description: &'static str, means: &'static str, judge: J) -> Self {
        Self { id, description, means, judge }
    }
}

impl CheckDefinition {
    /// Judges the mesh by these facts.
    pub fn judge(&self, facts: &MeshFacts) -> CheckResult {
        match (self.judge, &facts.registry) {
            (CheckJudge::Registry(judge), Some(registry)) => judge(registry, facts),
            (CheckJudge::Leases(judge), Some(registry)) => {
                let found = judge(registry, facts);
                let silent = facts.own().filter(|own| own.stale && own.stale_ms.is_some());
                // What its memory has of leases is over.
                match silent.filter(|_| found.verdict != CheckVerdict::Skip) {
                    Some(own) => {
                        CheckResult::unknown(format!("{} cannot know it, for its store does not answer", own.local_node_id))
                            .hint("omnirelay mesh check --addr HOST:PORT    # of a node whose store answers, if there is one")
                    }
                    None => found,
                }
            }
            (CheckJudge::Registry(_) | CheckJudge::Leases(_), None) => {
                CheckResult::unknown("the registry is still being loaded")
            }
            (CheckJudge::Nodes(judge), _) => judge(facts),
        }
    }
}

/// Checks that belong together.
pub struct FindingCategory<J: 'static = CheckJudge> {
    /// As in `--category`.
    pub name: &'static str,
    /// What to read when one of them does not pass, below the root of the documents.
    pub page: &'static str,
    pub checks: &'static [CheckDefinition<J>],
    /// The items of a node's readiness that are theirs; what nobody claims is judged by `nodes-fit`.
    pub items: &'static [&'static str],
}

/// The checks of these categories, each with its own, in the order of the report.
pub fn checks_of<J>(
    categories: &'static [&'static FindingCategory<J>],
) -> impl Iterator<Item = (&'static FindingCategory<J>, &'static CheckDefinition<J>)> + Clone {
    categories.iter().flat_map(|category| category.checks.iter().map(|check| (*category, check)))
}
