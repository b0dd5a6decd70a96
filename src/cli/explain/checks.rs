//! The checks of `mesh check`, of `doctor` and of `cert doctor`, and what each means.

use omnirelay_decisions::check::finding::{CheckDefinition, FindingCategory, checks_of};
use omnirelay_doctor::{certificate, checks as host};

use crate::check;
use crate::doctor::command_line;

/// Explanation of a check, whatever it judges.
pub(super) struct CheckExplanation {
    pub category: &'static str,
    /// What to read when it does not pass, below the documents.
    pub page: &'static str,
    pub id: &'static str,
    pub description: &'static str,
    pub means: &'static str,
}

impl CheckExplanation {
    fn of<J>(category: &FindingCategory<J>, check: &CheckDefinition<J>) -> Self {
        let FindingCategory { name, page, .. } = *category;
        Self { category: name, page, id: check.id, description: check.description, means: check.means }
    }
}

/// Every check, in the order of the reports.
pub(super) fn explained() -> impl Iterator<Item = CheckExplanation> {
    fn of<J>(categories: &'static [&'static FindingCategory<J>]) -> impl Iterator<Item = CheckExplanation> {
        checks_of(categories).map(|(category, check)| CheckExplanation::of(category, check))
    }
    let of_mesh =
        omnirelay_decisions::check::all().map(|(category, check)| CheckExplanation::of(category, check));
    let of_mesh = of(check::BEFORE).chain(of_mesh).chain(of(check::AFTER));
    let of_host = of(command_line::CATEGORIES).chain(of(host::CATEGORIES));
    of_mesh.chain(of_host).chain(of(certificate::checks::CATEGORIES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_explain_are_there() {
        let docs = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("docs");
        for check in explained() {
            assert!(docs.join(check.page).is_file(), "{}: {}", check.id, check.page);
        }
    }

    fn page_of_all() -> String {
        let mut page = "# What `mesh check`, `doctor` and `cert doctor` ask\n\n\
            Each check by its id, which scripts may name in `mesh check --skip`. `omnirelay explain ID` says the same. Exit code 10 says \
            that\none of them failed; what could not be asked is `unknown`, and the exit code says why.\n"
            .to_owned();
        let mut category = "";
        for check in explained() {
            if check.category != category {
                category = check.category;
                page.push_str(&format!("\n## {category}\n\n[What to do](../{}).\n", check.page));
            }
            page.push_str(&format!("\n### {}\n\nPasses when {}.\n\n", check.id, check.description));
            page.push_str(&wrapped(check.means));
        }
        page
    }

    /// In lines that are no longer than those of the other pages.
    fn wrapped(text: &str) -> String {
        const COLUMNS: usize = 116;
        let (mut lines, mut line) = (String::new(), String::new());
        for word in text.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > COLUMNS {
                lines.push_str(&std::mem::take(&mut line));
                lines.push('\n');
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines + &line + "\n"
    }

    #[test]
    fn page_of_all_checks_is_fresh() {
        let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .join("docs/reference/checks.md");
        if std::env::var_os("OMNIRELAY_GENERATE").is_some() {
            std::fs::write(&path, page_of_all()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == page_of_all(),
            "docs/reference/checks.md is stale: run the tests with OMNIRELAY_GENERATE=1"
        );
    }
}
