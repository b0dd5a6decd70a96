//! `omnirelay explain`: what a reason in an error means and what to do about it.

mod reasons;

use clap::Args;
use serde_json::{Value, json};

use self::reasons::{Explanation, REASONS};
use super::document::text;
use super::error::CliError;
use super::output::{Text, View};
use super::peers::get::listing;
use super::rpc::Leaf;
use super::session::Session;
use super::table::{Column, Layout, Moment, Table};
use crate::wire::fault::{Code, Exit};

pub const LEAF: Leaf = Leaf::local("explain", "prints text that is built in").exiting("0 1 2 3");

const EXAMPLES: &str = "\
Examples:
  omnirelay explain
  omnirelay explain OUTCOME_UNKNOWN
  omnirelay explain $(omnirelay mesh peers get nobody -o json 2>&1 | jq -r .error.reason)";

/// Explain the reason of an error; without one, list them
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct ExplainArgs {
    /// The reason, such as PEER_NOT_FOUND
    #[arg(value_name = "REASON")]
    reason: Option<String>,
}

static COLUMNS: &[Column] = &[
    Column::new("reason", |row, _| text(row, "reason").to_owned()).keep(),
    Column::new("code", |row, _| text(row, "code").to_owned()),
    Column::new("exit", |row, _| row["exitCode"].to_string())
        .number(|row| row["exitCode"].as_f64().unwrap_or(0.0)),
    Column::new("meaning", |row, _| text(row, "meaning").to_owned()),
];

/// Prints the explanation.
///
/// # Errors
/// Not found, when there is no such reason.
pub fn run(args: &ExplainArgs, session: &mut Session) -> Result<Exit, CliError> {
    let Some(wanted) = &args.reason else { return all(session) };
    let wanted = wanted.to_ascii_uppercase().replace('-', "_");
    let Some(known) = REASONS.iter().find(|known| known.reason == wanted) else {
        let message = format!("there is no reason `{wanted}`");
        return Err(CliError::new(Code::NotFound, "REASON_UNKNOWN", message)
            .cause("this version does not know it; a newer daemon may")
            .hint("omnirelay explain    # lists those it knows"));
    };
    let mut document = row(known);
    document["schemaVersion"] = json!("v1");
    let text = listing(&[
        ("reason", known.reason.to_owned()),
        ("code", format!("{} (exit {})", known.code.word(), known.code.exit() as u8)),
        ("meaning", known.means.to_owned()),
        ("next", known.next.to_owned()),
    ]);
    session.show(&View::lines(document, format!("reason/{}", known.reason), text))?;
    Ok(Exit::Ok)
}

fn all(session: &mut Session) -> Result<Exit, CliError> {
    let rows: Vec<Value> = REASONS.iter().map(row).collect();
    let moment = Moment { now_ms: None, absolute: false };
    let table = Table::of(COLUMNS, &rows, moment, &Layout::default())?;
    session.show(&View {
        document: json!({"schemaVersion": "v1", "reasons": rows}),
        items: Some(rows),
        names: REASONS.iter().map(|known| format!("reason/{}", known.reason)).collect(),
        text: Text::Table(table),
    })?;
    Ok(Exit::Ok)
}

fn row(known: &Explanation) -> Value {
    json!({
        "reason": known.reason,
        "code": known.code.word(),
        "exitCode": known.code.exit() as u8,
        "meaning": known.means,
        "next": known.next,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::cli::failure::FailureKind;

    /// The words in quotes after `marker` in every source file below `folder`.
    fn words(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                words(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let production = text.split("#[cfg(test)]").next().unwrap();
                found.extend(reasons(production));
            }
        }
    }

    /// The quoted words that stand where a reason does: after a code, or first in `CliError::local`.
    fn reasons(source: &str) -> Vec<String> {
        let after_code = source.split("Code::").skip(1).filter_map(|call| {
            let (code, rest) = call.split_once(',')?;
            code.chars().all(char::is_alphanumeric).then_some(rest)
        });
        let words = after_code.chain(source.split("CliError::local(").skip(1));
        words
            .filter_map(|rest| {
                let word = rest.trim_start().strip_prefix('"')?.split('"').next()?;
                let is_reason = word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                is_reason.then(|| word.to_owned())
            })
            .collect()
    }

    #[test]
    fn every_reason_in_the_source_is_explained() {
        let mut found = BTreeSet::new();
        words(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.contains("OUTCOME_UNKNOWN"), "the search itself works: {found:?}");
        found.extend(FailureKind::ALL.iter().map(|kind| kind.reason().to_owned()));
        let known: BTreeSet<String> = REASONS.iter().map(|known| known.reason.to_owned()).collect();
        let missing: Vec<&String> = found.difference(&known).collect();
        assert!(missing.is_empty(), "add to explain/reasons.rs: {missing:?}");
    }

    #[test]
    fn reasons_are_sorted_and_unique() {
        assert!(REASONS.is_sorted_by(|a, b| a.reason < b.reason));
    }
}
