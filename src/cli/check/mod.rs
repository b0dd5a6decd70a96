//! `omnirelay mesh check`: is this mesh fit, and if not, what to do.

mod client;
mod control_api;
mod facts;
mod finding;
mod nodes;
mod registry;
#[cfg(test)]
mod tests;
mod versions;

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::PossibleValuesParser;
use omnirelay_wire::fault::Exit;
use serde_json::{Value, json};

pub use self::facts::{Facts, Question, gather};
pub use self::finding::{Category, Check, Finding, Judge, Verdict};
use super::entry::{Entry, entry};
use super::frame::error::CliError;
use super::frame::global::Span;
use super::frame::output::{Text, View};
use super::frame::rpc::Leaf;
use super::frame::screen::{Screen, printable};
use super::frame::session::Session;
use super::node::NODE;
pub use super::peers::checks::PEERS;
use super::schema::documents::own;
use super::schema::schemas;
use super::{audit, leaders, peers, registers, relays};

const LEAF: Leaf =
    Leaf::read("mesh check", &[&NODE, &peers::LIST, &leaders::LIST]).exiting("0 1 2 5 6 8 9 10 11");
pub static ENTRY: Entry =
    entry!("check", CheckArgs, asking, &[LEAF], &[own("check", "mesh check", schemas::check),]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh check
  omnirelay mesh check --short
  omnirelay mesh check --wait 30s --strict
  omnirelay mesh check --category membership -o json | jq -e .success";

/// Check whether the mesh is fit, and say what to do if not
///
/// Exits with 10 when a check fails, and with the code of the failure (5, 6, 8, 9) when the daemon
/// could not be asked; what could not be asked is `unknown`, not failed.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct CheckArgs {
    /// Print only what did not pass, and the result
    #[arg(long)]
    short: bool,
    /// Only the checks of these categories
    #[arg(long, value_name = "CATEGORY,...", value_delimiter = ',', value_parser = categories())]
    category: Vec<String>,
    /// Leave these checks or categories out
    #[arg(long, value_name = "ID|CATEGORY,...", value_delimiter = ',', value_parser = skippable)]
    skip: Vec<String>,
    /// Count warnings as failures
    #[arg(long)]
    strict: bool,
    /// Check again until everything passes, at most this long
    #[arg(long, value_name = "DURATION")]
    wait: Option<Span>,
}

/// Every category, in the order of the report.
pub static CATEGORIES: &[&Category] = &[
    &client::CATEGORY,
    &control_api::CATEGORY,
    &registry::CATEGORY,
    &peers::checks::CATEGORY,
    &nodes::CATEGORY,
    &leaders::checks::CATEGORY,
    &registers::checks::CATEGORY,
    &relays::checks::CATEGORY,
    &audit::checks::CATEGORY,
    &versions::CATEGORY,
];

/// Every check with its category, in the order of the report.
pub fn all() -> impl Iterator<Item = (&'static Category, &'static Check)> {
    CATEGORIES.iter().flat_map(|category| category.checks.iter().map(|check| (*category, check)))
}

/// What is asked for the checks, each question once.
fn questions() -> impl Iterator<Item = &'static Question> {
    let asked = all().filter_map(|(_, check)| match check.judge {
        Judge::Answer(question, _) => Some(question),
        Judge::Facts(_) | Judge::Nodes(_) => None,
    });
    let mut distinct: Vec<&'static Question> = Vec::new();
    for question in asked {
        if !distinct.iter().any(|known| std::ptr::eq(*known, question)) {
            distinct.push(question);
        }
    }
    distinct.into_iter()
}

fn categories() -> PossibleValuesParser {
    PossibleValuesParser::new(CATEGORIES.iter().map(|category| category.name))
}

fn skippable(text: &str) -> Result<String, String> {
    if all().any(|(category, check)| [category.name, check.id].contains(&text)) {
        return Ok(text.to_owned());
    }
    let ids: Vec<&str> = all().map(|(_, check)| check.id).collect();
    Err(format!("there is no check `{text}`; checks: {}", ids.join(", ")))
}

/// What one check found, and how long what it judges took, in milliseconds.
struct Row {
    category: &'static Category,
    check: &'static Check,
    finding: Finding,
    took_ms: u64,
}

/// The findings of one round.
struct Report {
    rows: Vec<Row>,
    took: Duration,
    strict: bool,
}

/// Runs the checks.
///
/// # Errors
/// Why the daemon could not be asked; the report is printed before.
async fn run(args: &CheckArgs, session: &mut Session) -> Result<Exit, CliError> {
    let deadline = args.wait.map(|span| Instant::now() + span.0);
    let (report, facts) = loop {
        let started = Instant::now();
        let facts = facts::gather(session).await;
        let report = judge(args, &facts, started.elapsed());
        let time_left = deadline.is_some_and(|deadline| Instant::now() < deadline);
        if report.is_good(facts.failure()) || !time_left {
            break (report, facts);
        }
        session.notes().step(1, || "not everything passes yet: checking again".to_owned());
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let text = report.to_text(args.short, session.out.screen());
    let names = report.rows.iter().map(|row| format!("check/{}", row.check.id)).collect();
    session.show(&View { document: report.to_json(), items: None, names, text: Text::Lines(text) })?;
    match facts.failure() {
        Some(error) if report.counts(Verdict::Unknown) + report.counts(Verdict::Fail) > 0 => {
            Err(error.clone())
        }
        _ if report.success() => Ok(Exit::Ok),
        _ => Ok(Exit::Negative),
    }
}

/// What is wrong: what has failed, is warned of, or could not be asked.
pub fn problems(facts: &Facts) -> impl Iterator<Item = Value> {
    let report = all().map(|(_, check)| (check, check.judge(facts)));
    report.filter(|(_, found)| found.is_wrong()).map(|(check, found)| {
        let mut row = json!({
            "id": check.id, "result": found.verdict.word(), "message": found.text, "page": page(check),
        });
        if let Some(hint) = found.hint {
            row["hint"] = json!(hint);
        }
        row
    })
}

/// Where the documents explain a check.
fn page(check: &Check) -> String {
    format!("docs/reference/checks.md#{}", check.id)
}

fn judge(args: &CheckArgs, facts: &Facts, took: Duration) -> Report {
    let wanted = |name: &str| args.category.is_empty() || args.category.iter().any(|wanted| wanted == name);
    let skipped = |row: &Category, check: &Check| {
        args.skip.iter().any(|name| [check.id, row.name].contains(&name.as_str()))
    };
    let rows = all().filter(|(category, _)| wanted(category.name)).map(|(category, check)| {
        let finding = if skipped(category, check) { Finding::skip("left out") } else { check.judge(facts) };
        Row { category, check, finding, took_ms: check.took_ms(facts) }
    });
    Report { rows: rows.collect(), took, strict: args.strict }
}

impl Report {
    fn counts(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.finding.verdict == verdict).count()
    }

    fn of(&self, category: &'static Category) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| std::ptr::eq(row.category, category))
    }

    fn success(&self) -> bool {
        let bad = self.counts(Verdict::Fail) + self.counts(Verdict::Unknown);
        bad == 0 && (!self.strict || self.counts(Verdict::Warn) == 0)
    }

    fn is_good(&self, failure: Option<&CliError>) -> bool {
        self.success() && failure.is_none()
    }

    fn to_json(&self) -> Value {
        let categories: Vec<Value> = CATEGORIES
            .iter()
            .filter_map(|category| {
                let checks: Vec<Value> = self.of(category).map(Row::to_json).collect();
                (!checks.is_empty()).then(|| json!({"name": category.name, "checks": checks}))
            })
            .collect();
        json!({
            "schemaVersion": "v1",
            "kind": "CheckReport",
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
        for category in CATEGORIES {
            let shown = self.of(category).filter(|row| !short || row.finding.is_bad());
            let text: String = shown.map(|row| row.to_text(screen)).collect();
            if !text.is_empty() {
                lines.push_str(&format!("{}\n{text}", category.name));
            }
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
    fn to_json(&self) -> Value {
        let Self { check, finding, took_ms, .. } = self;
        let mut row = json!({
            "id": check.id,
            "description": check.description,
            "result": finding.verdict.word(),
            "message": finding.text,
        });
        if finding.is_wrong() {
            row["error"] = json!(finding.text);
            row["page"] = json!(page(check));
        }
        if let Some(hint) = &finding.hint {
            row["hint"] = json!(hint);
        }
        row["durationMs"] = json!(took_ms);
        row
    }

    /// `  ✓ text`, and below it what to do and what explains it.
    fn to_text(&self, screen: Screen) -> String {
        let Self { check, finding, .. } = self;
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
                format!("{}: {}  [{}]", check.description, printable(&finding.text), check.id)
            }
        };
        let hint = finding.hint.as_ref().map(|hint| format!("      try: {}\n", printable(hint)));
        let see = finding.is_bad().then(|| format!("      see: omnirelay explain {}\n", check.id));
        format!("  {sign} {what}\n{}{}", hint.unwrap_or_default(), see.unwrap_or_default())
    }
}
