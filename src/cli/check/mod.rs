//! `omnirelay mesh check`: is this mesh fit, and if not, what to do.

pub mod client;
mod control_api;
pub mod facts;
pub mod finding;
mod gather;
mod nodes;
mod registry;
pub mod report;
#[cfg(test)]
mod tests;
mod versions;

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::PossibleValuesParser;
use omnirelay_wire::fault::Exit;
use serde_json::{Value, json};

use self::facts::{Facts, Question};
use self::finding::{Category, Check, Finding, Judge, Verdict};
use self::report::{Report, Row};
use super::entry::{Entry, entry};
use super::frame::error::CliError;
use super::frame::global::Span;
use super::frame::rpc::Leaf;
use super::frame::session::Session;
use super::node::NODE;
use super::schema::documents::own;
use super::schema::schemas;
use super::{audit, cert, leaders, mesh_config, namespaces, peers, registers, relays};

const LEAF: Leaf = Leaf::read("mesh check", &[&NODE, &peers::LIST, &leaders::LIST, &namespaces::LIST])
    .exiting("0 1 2 5 6 8 9 10 11");
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
    &peers::transport::CATEGORY,
    &nodes::CATEGORY,
    &leaders::checks::CATEGORY,
    &namespaces::checks::CATEGORY,
    &registers::checks::CATEGORY,
    &relays::checks::CATEGORY,
    &audit::checks::CATEGORY,
    &cert::checks::CATEGORY,
    &mesh_config::checks::CATEGORY,
    &versions::CATEGORY,
];

/// Every check with its category, in the order of the report.
pub fn all() -> impl Iterator<Item = (&'static Category, &'static Check)> + Clone {
    CATEGORIES.iter().flat_map(|category| category.checks.iter().map(|check| (*category, check)))
}

/// What is asked for the checks, each question once.
fn questions() -> Vec<&'static Question> {
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
    distinct
}

/// Asks what all checks need; the other nodes only where what they say is wanted.
pub async fn gather(session: &Session, others_too: bool) -> Facts {
    let claimed = CATEGORIES.iter().flat_map(|category| category.items).copied().collect();
    gather::gather(session, &questions(), claimed, others_too).await
}

fn categories() -> PossibleValuesParser {
    PossibleValuesParser::new(CATEGORIES.iter().map(|category| category.name))
}

fn skippable(text: &str) -> Result<String, String> {
    Category::skippable(text, all())
}

/// Runs the checks.
///
/// # Errors
/// Why the daemon could not be asked; the report is printed before.
async fn run(args: &CheckArgs, session: &mut Session) -> Result<Exit, CliError> {
    let deadline = args.wait.map(|span| Instant::now() + span.0);
    let (report, facts) = loop {
        let started = Instant::now();
        let facts = gather(session, wants_nodes(args)).await;
        let report = judge(args, &facts, started.elapsed());
        let time_left = deadline.is_some_and(|deadline| Instant::now() < deadline);
        if report.is_good(facts.failure()) || !time_left {
            break (report, facts);
        }
        session.notes().step(1, || "not everything passes yet: checking again".to_owned());
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    report.show(args.short, session)?;
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
            "id": check.id, "result": found.verdict.word(), "message": found.text, "page": report::page(check.id),
        });
        if let Some(hint) = found.hint {
            row["hint"] = json!(hint);
        }
        row
    })
}

fn is_wanted(args: &CheckArgs, category: &Category) -> bool {
    args.category.is_empty() || args.category.iter().any(|wanted| wanted == category.name)
}

/// Whether any check that is wanted judges what the other nodes say.
fn wants_nodes(args: &CheckArgs) -> bool {
    let judged = |(category, check): (&Category, &Check)| {
        let skipped = category.is_left_out(check, &args.skip);
        is_wanted(args, category) && !skipped && matches!(check.judge, Judge::Nodes(_))
    };
    all().any(judged)
}

fn judge(args: &CheckArgs, facts: &Facts, took: Duration) -> Report {
    let rows = all().filter(|(category, _)| is_wanted(args, category)).map(|(category, check)| {
        let left_out = category.is_left_out(check, &args.skip);
        let finding = if left_out { Finding::skip("left out") } else { check.judge(facts) };
        Row::of(category, check, finding, check.took_ms(facts))
    });
    Report { kind: "CheckReport", rows: rows.collect(), took, strict: args.strict }
}
