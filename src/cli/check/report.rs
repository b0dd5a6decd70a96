//! Report of what was found, as a document and as text.

use std::time::Duration;

use omnirelay_core::text::some_of;
use omnirelay_decisions::check::facts::NAMED_MAX;
use omnirelay_decisions::check::finding::{
    CheckDefinition, CheckResult, CheckVerdict, FactExaminer, FindingCategory, checks_of,
};

use crate::documents::on_this_host;
use crate::frame::prelude::*;
use crate::frame::screen::{StdoutScreen, printable_lines};

/// Finding of one check.
pub(crate) struct CheckRow {
    pub category: String,
    pub id: String,
    pub description: String,
    pub finding: CheckResult,
    /// How long what it judges took to find out.
    pub took: Duration,
}

/// The findings of one round.
pub(crate) struct RoundReport {
    /// What the document is called.
    pub kind: &'static str,
    pub rows: Vec<CheckRow>,
    pub took: Duration,
    /// Warnings count as failures.
    pub strict: bool,
    /// The nodes that live, and what came of asking each, as the daemon says it; empty: nobody was to be asked.
    pub nodes: Vec<Value>,
}

/// Of more checks than these only the number is told, when none of them could be asked: one cause stands above them.
const NOT_ASKED_MAX: usize = 5;

/// Page of the documents that explains a check.
pub(crate) fn page(id: &str) -> String {
    format!("docs/reference/checks.md#{id}")
}

/// A check or a category that can be left out, of these: the names of categories with those of their checks.
///
/// # Errors
/// The names that there are.
pub(crate) fn skippable(
    text: &str,
    all: impl Iterator<Item = (&'static str, &'static str)> + Clone,
) -> Result<String, String> {
    if all.clone().any(|(category, id)| [category, id].contains(&text)) {
        return Ok(text.to_owned());
    }
    let ids: Vec<&str> = all.map(|(_, id)| id).collect();
    Err(format!("there is no check `{text}`; checks: {}", ids.join(", ")))
}

/// Whether a check is named among these, or its category is.
pub(crate) fn is_left_out(skip: &[String], category: &str, id: &str) -> bool {
    skip.iter().any(|name| [id, category].contains(&name.as_str()))
}

/// Marks the rows of these checks and categories as left out.
pub(crate) fn leave_out(rows: &mut [CheckRow], skip: &[String]) {
    for row in rows.iter_mut().filter(|row| is_left_out(skip, &row.category, &row.id)) {
        row.finding = CheckResult::skip("left out");
    }
}

/// Whether nobody could be asked what a row judges.
fn is_unasked(row: &CheckRow) -> bool {
    row.finding == super::not_asked()
}

impl RoundReport {
    /// Prints it.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(crate) fn show(&self, short: bool, session: &mut CommandSession) -> Result<(), CliError> {
        let text = self.to_text(short, session.out.screen());
        let names = self.rows.iter().map(|row| format!("check/{}", row.id)).collect();
        session.show(&CommandOutput {
            document: self.to_json(),
            items: None,
            names,
            text: TextForm::Lines(text),
        })
    }

    pub(crate) fn counts(&self, verdict: CheckVerdict) -> usize {
        self.rows.iter().filter(|row| row.finding.verdict == verdict).count()
    }

    /// The rows of each category, in the order of the report.
    fn categories(&self) -> impl Iterator<Item = &[CheckRow]> {
        self.rows.chunk_by(|one, next| one.category == next.category)
    }

    pub(crate) fn success(&self) -> bool {
        let bad = self.counts(CheckVerdict::Fail) + self.counts(CheckVerdict::Unknown);
        bad == 0 && (!self.strict || self.counts(CheckVerdict::Warn) == 0)
    }

    pub(crate) fn is_good(&self, failure: Option<&CliError>) -> bool {
        self.success() && failure.is_none()
    }

    fn to_json(&self) -> Value {
        let nodes = if self.nodes.is_empty() { None } else { Some(&self.nodes) };
        let category = |rows: &[CheckRow]| {
            let checks: Vec<Value> = rows.iter().map(CheckRow::to_json).collect();
            json!({"name": rows[0].category, "checks": checks})
        };
        let categories: Vec<Value> = self.categories().map(category).collect();
        let mut document = json!({
            "schemaVersion": "v1",
            "kind": self.kind,
            "success": self.success(),
            "summary": {
                "pass": self.counts(CheckVerdict::Pass),
                "warn": self.counts(CheckVerdict::Warn),
                "fail": self.counts(CheckVerdict::Fail),
                "skip": self.counts(CheckVerdict::Skip),
                "unknown": self.counts(CheckVerdict::Unknown),
                "durationMs": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            },
            "categories": categories,
        });
        if let Some(nodes) = nodes {
            document["nodes"] = json!(nodes);
        }
        document
    }

    /// `2 of 3 nodes asked, `: whose word it is.
    fn asked(&self) -> String {
        let asked = self.nodes.iter().filter(|node| text(node, "trouble").is_empty()).count();
        match self.nodes.len() {
            0 => String::new(),
            1 => "1 node asked, ".to_owned(),
            all if all == asked => format!("{all} nodes asked, "),
            all => format!("{asked} of {all} nodes asked, "),
        }
    }

    fn to_text(&self, short: bool, screen: StdoutScreen) -> String {
        let mut lines = String::new();
        let not_asked = self.rows.iter().filter(|row| is_unasked(row)).count();
        let is_counted = |row: &CheckRow| not_asked > NOT_ASKED_MAX && is_unasked(row);
        for rows in self.categories() {
            let shown = rows
                .iter()
                .filter(|row| !short || row.finding.verdict.is_wrong())
                .filter(|row| !is_counted(row));
            let text: String = shown.map(|row| row.to_text(screen)).collect();
            if !text.is_empty() {
                lines.push_str(&format!("{}\n{text}", rows[0].category));
            }
        }
        if not_asked > NOT_ASKED_MAX {
            lines.push_str(&format!("? {not_asked} more checks could not be asked; -o json names them\n"));
        }
        let result = if self.success() { "OK" } else { "FAILED" };
        let mut parts = vec![format!("{} passed", self.counts(CheckVerdict::Pass))];
        let named = [
            (CheckVerdict::Warn, "warned"),
            (CheckVerdict::Fail, "failed"),
            (CheckVerdict::Unknown, "unknown"),
            (CheckVerdict::Skip, "skipped"),
        ];
        for (verdict, word) in named {
            let number = self.counts(verdict);
            parts.extend((number > 0).then(|| format!("{number} {word}")));
        }
        let gap = if lines.is_empty() { "" } else { "\n" };
        lines.push_str(&format!(
            "{gap}Result: {result}   {}   ({}{:.1}s)\n",
            parts.join(", "),
            self.asked(),
            self.took.as_secs_f64()
        ));
        lines
    }
}

impl CheckRow {
    /// Row of what a check of this program has found.
    pub(crate) fn of<J>(
        category: &FindingCategory<J>,
        check: &CheckDefinition<J>,
        finding: CheckResult,
        took: Duration,
    ) -> Self {
        let [category, id, description] = [category.name, check.id, check.description].map(str::to_owned);
        Self { category, id, description, finding, took }
    }

    /// Rows of what all checks of these categories find of `facts`, which took so long to find out.
    pub(crate) fn judged<F>(
        categories: &'static [&'static FindingCategory<FactExaminer<F>>],
        facts: &F,
        took: Duration,
    ) -> impl Iterator<Item = Self> {
        checks_of(categories)
            .map(move |(category, check)| Self::of(category, check, (check.judge)(facts), took))
    }

    /// The rows of a report that a daemon has made. What a later one calls otherwise is unknown.
    pub(crate) fn all_of(report: &Value, took: Duration) -> Vec<Self> {
        let of = |category: &str, row: &Value| {
            let words = |name| text(row, name).to_owned();
            let verdict = CheckVerdict::ALL.into_iter().find(|verdict| verdict.word() == text(row, "result"));
            let names = |name| items(row, name).iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let finding = CheckResult {
                verdict: verdict.unwrap_or(CheckVerdict::Unknown),
                text: words("message"),
                hint: Some(words("hint")).filter(|hint| !hint.is_empty()),
                seen_by: names("seenBy"),
                about: names("about"),
            };
            Self {
                category: category.to_owned(),
                id: words("id"),
                description: words("description"),
                finding,
                took,
            }
        };
        let categories = items(report, "categories").iter();
        let rows = categories.flat_map(|category| {
            items(category, "checks").iter().map(move |row| of(text(category, "name"), row))
        });
        rows.collect()
    }

    fn to_json(&self) -> Value {
        let Self { id, description, finding, took, .. } = self;
        let mut row = json!({
            "id": id,
            "description": description,
            "result": finding.verdict.word(),
            "message": finding.text,
        });
        if finding.verdict.is_wrong() {
            row["error"] = json!(finding.text);
            row["page"] = json!(page(id));
        }
        if let Some(hint) = &finding.hint {
            row["hint"] = json!(hint);
        }
        if !finding.seen_by.is_empty() {
            row["seenBy"] = json!(finding.seen_by);
        }
        if !finding.about.is_empty() {
            row["about"] = json!(finding.about);
        }
        row["durationMs"] = json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        row
    }

    /// `  ✓ text`, and below it what to do and what explains it.
    fn to_text(&self, screen: StdoutScreen) -> String {
        let Self { id, description, finding, .. } = self;
        let (sign, plain, color) = match finding.verdict {
            CheckVerdict::Pass => ("✓", "ok  ", "32"),
            CheckVerdict::Warn => ("!", "warn", "33"),
            CheckVerdict::Fail => ("✗", "FAIL", "31"),
            CheckVerdict::Skip => ("-", "skip", "2"),
            CheckVerdict::Unknown => ("?", "?   ", "33"),
        };
        let sign = if screen.unicode { sign } else { plain };
        let sign = if screen.color { format!("\x1b[{color}m{sign}\x1b[0m") } else { sign.to_owned() };
        let what = match finding.verdict {
            // What has several lines is a list.
            CheckVerdict::Pass | CheckVerdict::Warn | CheckVerdict::Fail => printable_lines(&finding.text),
            CheckVerdict::Skip | CheckVerdict::Unknown => {
                format!("{description}: {}  [{id}]", printable(&finding.text))
            }
        };
        let hint =
            finding.hint.as_ref().map(|hint| format!("      try: {}\n", printable(&on_this_host(hint))));
        let is_bad = finding.verdict.is_bad();
        let seen = (is_bad && !finding.seen_by.is_empty())
            .then(|| format!("      seen by: {}\n", printable(&some_of(&finding.seen_by, NAMED_MAX))));
        let see = is_bad.then(|| format!("      see: omnirelay explain {id}\n"));
        let below = [seen, hint, see].into_iter().flatten().collect::<String>();
        format!("  {sign} {what}\n{below}")
    }
}
