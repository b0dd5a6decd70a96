//! Report of what checks have found, as it is answered.

use omnirelay_decisions::check::finding::{CheckDefinition, CheckResult, CheckVerdict};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::check_finding::Result as Found;

/// What a finding is explained by, below the root of the documents.
const PAGE: &str = "reference/checks.md";

/// Report of what was found, with how many checks ended how.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    pub summary: pb::CheckSummary,
    /// In the order in which they were added.
    pub categories: Vec<pb::CheckCategory>,
}

impl CheckReport {
    /// Adds what a check of a category has found, behind what the category has.
    pub fn add<J>(&mut self, category: &str, check: &CheckDefinition<J>, finding: CheckResult) {
        *self.count(finding.verdict) += 1;
        let row = row(check, finding);
        match self.categories.last_mut().filter(|last| last.name == category) {
            Some(last) => last.checks.push(row),
            None => self.categories.push(pb::CheckCategory { name: category.to_owned(), checks: vec![row] }),
        }
    }

    /// Report of what another node has found. How many checks ended how is counted, whatever it says.
    pub fn of(categories: Vec<pb::CheckCategory>) -> Self {
        let mut report = Self { summary: pb::CheckSummary::default(), categories };
        let rows = report.categories.iter().flat_map(|category| &category.checks);
        for result in rows.map(pb::CheckFinding::result).collect::<Vec<_>>() {
            *report.count(verdict(result)) += 1;
        }
        report
    }

    /// Whether nothing has failed, and nothing is unknown.
    pub fn success(&self) -> bool {
        self.summary.fail == 0 && self.summary.unknown == 0
    }

    fn count(&mut self, verdict: CheckVerdict) -> &mut u32 {
        let summary = &mut self.summary;
        match verdict {
            CheckVerdict::Pass => &mut summary.pass,
            CheckVerdict::Warn => &mut summary.warn,
            CheckVerdict::Fail => &mut summary.fail,
            CheckVerdict::Skip => &mut summary.skip,
            CheckVerdict::Unknown => &mut summary.unknown,
        }
    }
}

/// What a later version calls otherwise is unknown.
fn verdict(result: Found) -> CheckVerdict {
    match result {
        Found::Pass => CheckVerdict::Pass,
        Found::Warn => CheckVerdict::Warn,
        Found::Fail => CheckVerdict::Fail,
        Found::Skip => CheckVerdict::Skip,
        Found::Unknown | Found::Unspecified => CheckVerdict::Unknown,
    }
}

fn row<J>(check: &CheckDefinition<J>, finding: CheckResult) -> pb::CheckFinding {
    let result = match finding.verdict {
        CheckVerdict::Pass => Found::Pass,
        CheckVerdict::Warn => Found::Warn,
        CheckVerdict::Fail => Found::Fail,
        CheckVerdict::Skip => Found::Skip,
        CheckVerdict::Unknown => Found::Unknown,
    };
    pb::CheckFinding {
        id: check.id.to_owned(),
        description: check.description.to_owned(),
        result: result.into(),
        message: finding.text,
        hint: finding.hint.unwrap_or_default(),
        page: format!("{PAGE}#{}", check.id),
        seen_by: finding.seen_by,
        about: finding.about,
    }
}
