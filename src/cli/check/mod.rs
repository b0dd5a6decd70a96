//! `omnirelay mesh check`: is this mesh fit, and if not, what to do.

pub(crate) mod checked_mesh;
pub(crate) mod client;
mod control_api;
pub(crate) mod report;
#[cfg(test)]
mod tests;
mod versions;

use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use omnirelay_decisions::check;
use omnirelay_decisions::check::finding::{
    CheckResult, CheckVerdict, FactExaminer, FindingCategory, checks_of,
};
use omnirelay_wire::rpc::node_service;

use self::report::{CheckRow, RoundReport, is_left_out, leave_out};
use super::entry::{CommandEntry, entry};
use super::frame::global::HumanDuration;
use super::schema::documents::own;
use super::schema::schemas;
use crate::check::checked_mesh::{CHECK, CheckedFacts, ask};
use crate::frame::prelude::*;

const LEAF: LeafCommand =
    LeafCommand::read("mesh check", &[&node_service::GET, &CHECK]).exiting("0 1 2 5 6 8 9 10 11");
pub(crate) static ENTRY: CommandEntry =
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
pub(crate) struct CheckArgs {
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
    wait: Option<HumanDuration>,
}

/// What the command line judges itself, before what the daemon judges and after it.
pub(crate) static BEFORE: &[&FindingCategory<FactExaminer<CheckedFacts>>] =
    &[&client::CATEGORY, &control_api::CATEGORY];
pub(crate) static AFTER: &[&FindingCategory<FactExaminer<CheckedFacts>>] = &[&versions::CATEGORY];

/// The names of all checks with those of their categories, in the order of the report.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> + Clone {
    let own = |categories| checks_of(categories).map(|(category, check)| (category.name, check.id));
    own(BEFORE).chain(check::all().map(|(category, check)| (category.name, check.id))).chain(own(AFTER))
}

/// The report tells once, where it belongs, why nobody could be asked.
fn not_asked() -> CheckResult {
    CheckResult::unknown("could not be asked")
}

/// What a failure says is to be done next, or else this.
fn next_of(error: &CliError, or: &str) -> String {
    error.body().hints.first().map_or(or, String::as_str).to_owned()
}

fn categories() -> PossibleValuesParser {
    let mut categories: Vec<&str> = names().map(|(category, _)| category).collect();
    categories.dedup();
    PossibleValuesParser::new(categories)
}

/// A check or a category that can be left out.
fn skippable(text: &str) -> Result<String, String> {
    report::skippable(text, names())
}

/// Runs the checks.
///
/// # Errors
/// Why the daemon could not be asked; the report is printed before.
async fn run(args: &CheckArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let deadline = args.wait.map(|span| Instant::now() + span.0);
    let (report, facts) = loop {
        let started = Instant::now();
        let facts = CheckedFacts::gather(session, wants_mesh(args)).await;
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
        Some(error) if report.counts(CheckVerdict::Unknown) + report.counts(CheckVerdict::Fail) > 0 => {
            Err(error.clone())
        }
        _ if report.success() => Ok(Exit::Ok),
        _ => Ok(Exit::Negative),
    }
}

/// Problems that were found: what has failed, is warned of, or could not be asked.
pub(crate) fn problems(facts: &CheckedFacts) -> Vec<Value> {
    let rows = rows(facts).into_iter().filter(|row| row.finding.verdict.is_wrong());
    let shown = rows.map(|CheckRow { id, finding, .. }| {
        let mut row = json!({
            "id": id, "result": finding.verdict.word(), "message": finding.text, "page": report::page(&id),
        });
        if let Some(hint) = finding.hint {
            row["hint"] = json!(hint);
        }
        row
    });
    shown.collect()
}

/// Findings of a daemon about nodes that are wrong, whatever this program finds; none where it cannot be asked.
pub(crate) async fn wrong_with_nodes(session: &CommandSession) -> Vec<CheckRow> {
    let report = ask(session, &CHECK).await.said;
    let rows = report.map(|report| CheckRow::all_of(&report, Duration::ZERO)).unwrap_or_default();
    rows.into_iter().filter(|row| row.finding.verdict.is_wrong() && !row.finding.about.is_empty()).collect()
}

/// What each check finds, in the order of the report.
fn rows(facts: &CheckedFacts) -> Vec<CheckRow> {
    let own = |categories| CheckRow::judged(categories, facts, facts.node.took);
    let mut rows: Vec<CheckRow> = own(BEFORE).collect();
    if let Some(mesh) = &facts.mesh {
        match &mesh.said {
            Ok(found) => rows.extend(CheckRow::all_of(found, mesh.took)),
            Err(_) => {
                let all = check::all();
                rows.extend(
                    all.map(|(category, check)| CheckRow::of(category, check, not_asked(), Duration::ZERO)),
                );
            }
        }
    }
    rows.extend(own(AFTER));
    rows
}

fn is_wanted(args: &CheckArgs, category: &str) -> bool {
    args.category.is_empty() || args.category.iter().any(|wanted| wanted == category)
}

/// Whether any check that is wanted is made by the daemon.
fn wants_mesh(args: &CheckArgs) -> bool {
    check::all().any(|(category, check)| {
        is_wanted(args, category.name) && !is_left_out(&args.skip, category.name, check.id)
    })
}

fn judge(args: &CheckArgs, facts: &CheckedFacts, took: Duration) -> RoundReport {
    let mut rows = rows(facts);
    rows.retain(|row| is_wanted(args, &row.category));
    leave_out(&mut rows, &args.skip);
    let found = facts.mesh.as_ref().and_then(|mesh| mesh.said.as_ref().ok());
    let nodes = found.map(|found| items(found, "nodes").to_vec()).unwrap_or_default();
    RoundReport { kind: "CheckReport", rows, took, strict: args.strict, nodes }
}
