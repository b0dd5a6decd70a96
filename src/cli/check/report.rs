//! What was found, as a document and as text.

use std::time::Duration;

use serde_json::{Value, json};

use super::finding::{Category, Check, Finding, Verdict};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::{Text, View};
use crate::cli::frame::screen::{Screen, printable};
use crate::cli::frame::session::Session;

/// What one check found.
pub struct Row {
    category: &'static str,
    id: &'static str,
    description: &'static str,
    pub finding: Finding,
    /// How long what it judges took to find out.
    took_ms: u64,
}

/// The findings of one round.
pub struct Report {
    /// What the document is called.
    pub kind: &'static str,
    pub rows: Vec<Row>,
    pub took: Duration,
    /// Warnings count as failures.
    pub strict: bool,
}

/// Of more checks than these only the number is told, when none of them could be asked: one cause stands above them.
const NOT_ASKED_MAX: usize = 5;

/// Where the documents explain a check.
pub fn page(id: &str) -> String {
    format!("docs/reference/checks.md#{id}")
}

impl Report {
    /// Prints it.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn show(&self, short: bool, session: &mut Session) -> Result<(), CliError> {
        let text = self.to_text(short, session.out.screen());
        let names = self.rows.iter().map(|row| format!("check/{}", row.id)).collect();
        session.show(&View { document: self.to_json(), items: None, names, text: Text::Lines(text) })
    }

    pub fn counts(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.finding.verdict == verdict).count()
    }

    /// The rows of each category, in the order of the report.
    fn categories(&self) -> impl Iterator<Item = &[Row]> {
        self.rows.chunk_by(|one, next| one.category == next.category)
    }

    pub fn success(&self) -> bool {
        let bad = self.counts(Verdict::Fail) + self.counts(Verdict::Unknown);
        bad == 0 && (!self.strict || self.counts(Verdict::Warn) == 0)
    }

    pub fn is_good(&self, failure: Option<&CliError>) -> bool {
        self.success() && failure.is_none()
    }

    fn to_json(&self) -> Value {
        let category = |rows: &[Row]| {
            let checks: Vec<Value> = rows.iter().map(Row::to_json).collect();
            json!({"name": rows[0].category, "checks": checks})
        };
        let categories: Vec<Value> = self.categories().map(category).collect();
        json!({
            "schemaVersion": "v1",
            "kind": self.kind,
            "success": self.success(),
            "summary": {
                "pass": self.counts(Verdict::Pass),
                "warn": self.counts(Verdict::Warn),
                "fail": self.counts(Verdict::Fail),
                "skip": self.counts(Verdict::Skip),
                "unknown": self.counts(Verdict::Unknown),
                "durationMs": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            },
            "categories": categories,
        })
    }

    fn to_text(&self, short: bool, screen: Screen) -> String {
        let mut lines = String::new();
        let not_asked = self.rows.iter().filter(|row| row.finding == Finding::not_asked()).count();
        let is_counted = |row: &Row| not_asked > NOT_ASKED_MAX && row.finding == Finding::not_asked();
        for rows in self.categories() {
            let shown =
                rows.iter().filter(|row| !short || row.finding.is_bad()).filter(|row| !is_counted(row));
            let text: String = shown.map(|row| row.to_text(screen)).collect();
            if !text.is_empty() {
                lines.push_str(&format!("{}\n{text}", rows[0].category));
            }
        }
        if not_asked > NOT_ASKED_MAX {
            lines.push_str(&format!("? {not_asked} more checks could not be asked; -o json names them\n"));
        }
        let result = if self.success() { "OK" } else { "FAILED" };
        let mut parts = vec![format!("{} passed", self.counts(Verdict::Pass))];
        let named = [
            (Verdict::Warn, "warned"),
            (Verdict::Fail, "failed"),
            (Verdict::Unknown, "unknown"),
            (Verdict::Skip, "skipped"),
        ];
        for (verdict, word) in named {
            let number = self.counts(verdict);
            parts.extend((number > 0).then(|| format!("{number} {word}")));
        }
        let gap = if lines.is_empty() { "" } else { "\n" };
        lines.push_str(&format!(
            "{gap}Result: {result}   {}   ({:.1}s)\n",
            parts.join(", "),
            self.took.as_secs_f64()
        ));
        lines
    }
}

impl Row {
    pub fn of<J>(category: &Category<J>, check: &Check<J>, finding: Finding, took_ms: u64) -> Self {
        Self { category: category.name, id: check.id, description: check.description, finding, took_ms }
    }

    fn to_json(&self) -> Value {
        let Self { id, description, finding, took_ms, .. } = self;
        let mut row = json!({
            "id": id,
            "description": description,
            "result": finding.verdict.word(),
            "message": finding.text,
        });
        if finding.is_wrong() {
            row["error"] = json!(finding.text);
            row["page"] = json!(page(id));
        }
        if let Some(hint) = &finding.hint {
            row["hint"] = json!(hint);
        }
        row["durationMs"] = json!(took_ms);
        row
    }

    /// `  ✓ text`, and below it what to do and what explains it.
    fn to_text(&self, screen: Screen) -> String {
        let Self { id, description, finding, .. } = self;
        let (sign, plain, color) = match finding.verdict {
            Verdict::Pass => ("✓", "ok  ", "32"),
            Verdict::Warn => ("!", "warn", "33"),
            Verdict::Fail => ("✗", "FAIL", "31"),
            Verdict::Skip => ("-", "skip", "2"),
            Verdict::Unknown => ("?", "?   ", "33"),
        };
        let sign = if screen.unicode { sign } else { plain };
        let sign = if screen.color { format!("\x1b[{color}m{sign}\x1b[0m") } else { sign.to_owned() };
        let what = match finding.verdict {
            Verdict::Pass | Verdict::Warn | Verdict::Fail => printable(&finding.text),
            Verdict::Skip | Verdict::Unknown => {
                format!("{description}: {}  [{id}]", printable(&finding.text))
            }
        };
        let hint = finding.hint.as_ref().map(|hint| format!("      try: {}\n", printable(hint)));
        let see = finding.is_bad().then(|| format!("      see: omnirelay explain {id}\n"));
        format!("  {sign} {what}\n{}{}", hint.unwrap_or_default(), see.unwrap_or_default())
    }
}
