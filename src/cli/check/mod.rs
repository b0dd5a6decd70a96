//! `omnirelay mesh check`: is this mesh fit, and if not, what to do.

mod checks;
mod facts;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use clap::Args;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::node_service;
use serde_json::{Value, json};

use self::checks::{CATEGORIES, CHECKS, Check, Finding, Verdict};
use self::facts::Facts;
pub use self::facts::gather;
use super::entry::{Entry, entry};
use super::frame::error::CliError;
use super::frame::global::Span;
use super::frame::output::{Text, View};
use super::frame::rpc::{Leaf, Rpc};
use super::frame::screen::{Screen, printable};
use super::frame::session::Session;
use super::peers::LIST;
use super::schema::documents::own;
use super::schema::schemas;

pub const NODE: Rpc = node_service::GET;
const LEAF: Leaf = Leaf::read("mesh check", &[&NODE, &LIST]).exiting("0 1 2 5 6 8 9 10 11");
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
    #[arg(long, value_name = "CATEGORY,...", value_delimiter = ',', value_parser = CATEGORIES_PARSER)]
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

const CATEGORIES_PARSER: [&str; 5] = ["client", "control-api", "registry", "membership", "versions"];

fn skippable(text: &str) -> Result<String, String> {
    if CATEGORIES.contains(&text) || CHECKS.iter().any(|check| check.id == text) {
        return Ok(text.to_owned());
    }
    let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    Err(format!("there is no check `{text}`; checks: {}", ids.join(", ")))
}

/// The findings of one round.
struct Report {
    rows: Vec<(&'static Check, Finding, u64)>,
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
    let names = report.rows.iter().map(|(check, ..)| format!("check/{}", check.id)).collect();
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
    let report = CHECKS.iter().map(|check| (check, (check.judge)(facts)));
    let wrong =
        report.filter(|(_, found)| matches!(found.verdict, Verdict::Fail | Verdict::Warn | Verdict::Unknown));
    wrong.map(|(check, found)| {
        let mut row = json!({"id": check.id, "result": found.verdict.word(), "message": found.text});
        if let Some(hint) = found.hint {
            row["hint"] = json!(hint);
        }
        row
    })
}

fn judge(args: &CheckArgs, facts: &Facts, took: Duration) -> Report {
    let wanted =
        |check: &&Check| args.category.is_empty() || args.category.iter().any(|name| name == check.category);
    let skipped = |check: &Check| args.skip.iter().any(|name| name == check.id || name == check.category);
    let rows = CHECKS.iter().filter(wanted).map(|check| {
        let finding = if skipped(check) {
            Finding { verdict: Verdict::Skip, text: "left out".to_owned(), hint: None }
        } else {
            (check.judge)(facts)
        };
        (check, finding, facts.duration_ms(check))
    });
    Report { rows: rows.collect(), took, strict: args.strict }
}

impl Facts {
    /// Why the daemon could not be asked everything.
    fn failure(&self) -> Option<&CliError> {
        self.node.as_ref().err().or(self.peers.as_ref().err())
    }

    /// How long the question behind a check took, in milliseconds.
    fn duration_ms(&self, check: &Check) -> u64 {
        match check.category {
            "membership" => self.peers_ms,
            "client" if check.id == "client-config" => 0,
            _ if check.id == "versions-peers" => self.peers_ms,
            _ => self.node_ms,
        }
    }
}

impl Report {
    fn counts(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|(_, finding, _)| finding.verdict == verdict).count()
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
                let rows = self.rows.iter().filter(|(check, ..)| check.category == *category);
                let checks: Vec<Value> =
                    rows.map(|(check, finding, ms)| row_json(check, finding, *ms)).collect();
                (!checks.is_empty()).then(|| json!({"name": category, "checks": checks}))
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
            let rows = self.rows.iter().filter(|(check, ..)| check.category == *category);
            let shown = rows.filter(|(_, finding, _)| !short || finding.verdict != Verdict::Pass);
            let text: String = shown.map(|(check, finding, _)| row_text(check, finding, screen)).collect();
            if !text.is_empty() {
                lines.push_str(&format!("{category}\n{text}"));
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

fn row_json(check: &Check, finding: &Finding, duration_ms: u64) -> Value {
    let mut row = json!({
        "id": check.id,
        "description": check.description,
        "result": finding.verdict.word(),
        "message": finding.text,
    });
    if matches!(finding.verdict, Verdict::Fail | Verdict::Warn | Verdict::Unknown) {
        row["error"] = json!(finding.text);
    }
    if let Some(hint) = &finding.hint {
        row["hint"] = json!(hint);
    }
    row["durationMs"] = json!(duration_ms);
    row
}

/// `  ✓ text`, and below it what to do.
fn row_text(check: &Check, finding: &Finding, screen: Screen) -> String {
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
        Verdict::Skip | Verdict::Unknown => format!("{}: {}", check.description, printable(&finding.text)),
    };
    let id = match finding.verdict {
        Verdict::Pass => String::new(),
        Verdict::Warn | Verdict::Fail | Verdict::Skip | Verdict::Unknown => format!("  [{}]", check.id),
    };
    let hint = finding.hint.as_ref().map(|hint| format!("      try: {}\n", printable(hint)));
    format!("  {sign} {what}{id}\n{}", hint.unwrap_or_default())
}
