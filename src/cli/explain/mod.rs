//! `omnirelay explain`: what a reason in an error means and what to do about it.

mod reasons;

use clap::Args;
use omnirelay_wire::fault::{Code, Exit};
use serde_json::{Value, json};

use self::reasons::Explanation;
use super::document::text;
use super::error::CliError;
use super::output::{Text, View};
use super::peers::get::listing;
use super::rpc::Leaf;
use super::session::Session;
use super::table::{Column, Layout, Moment, Table};

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
    let Some(known) = reasons::all().find(|known| known.reason == wanted) else {
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
    let rows: Vec<Value> = reasons::all().map(row).collect();
    let moment = Moment { now_ms: None, absolute: false };
    let table = Table::of(COLUMNS, &rows, moment, &Layout::default())?;
    session.show(&View {
        document: json!({"schemaVersion": "v1", "reasons": rows}),
        items: Some(rows),
        names: reasons::all().map(|known| format!("reason/{}", known.reason)).collect(),
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

    /// Reasons, each with the code it stands beside, if it stands beside one.
    type Found = BTreeSet<(String, Option<String>)>;

    /// Every reason in the source files below `folder`.
    fn search(folder: &Path, found: &mut Found) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                search(&path, found);
            } else if is_production(&path) {
                let text = std::fs::read_to_string(&path).unwrap();
                let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                found.extend(reasons(production));
            }
        }
    }

    fn is_production(path: &Path) -> bool {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".rs") && !name.ends_with("_test.rs") && name != "tests.rs"
    }

    /// The quoted words that stand where a reason does: after a code, or first in a call that makes
    /// a fault of it.
    fn reasons(source: &str) -> Found {
        let mut found = Found::new();
        for call in source.split("Code::").skip(1) {
            let Some((code, rest)) = call.split_once(',') else { continue };
            if code.chars().all(char::is_alphanumeric) {
                found.extend(word(rest).map(|word| (word, Some(code.to_owned()))));
            }
        }
        let calls = source.split("CliError::local(").skip(1).chain(source.split("refused(").skip(1));
        found.extend(calls.filter_map(word).map(|word| (word, None)));
        found
    }

    fn word(rest: &str) -> Option<String> {
        let word = rest.trim_start().strip_prefix('"')?.split('"').next()?;
        let is_reason = word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        is_reason.then(|| word.to_owned())
    }

    #[test]
    fn every_reason_in_the_source_is_explained() {
        let mut found = Found::new();
        search(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        found.extend(FailureKind::ALL.iter().map(|kind| (kind.reason().to_owned(), None)));
        for reason in ["OUTCOME_UNKNOWN", "PEER_NOT_FOUND", "HOST_NOT_ALLOWED", "CONFIG_UNWRITABLE"] {
            assert!(found.iter().any(|(known, _)| known == reason), "the search misses {reason}");
        }
        for (reason, code) in &found {
            let known = reasons::all().find(|known| known.reason == reason);
            let known = known.unwrap_or_else(|| panic!("explain/reasons lacks {reason}"));
            if let Some(code) = code {
                // One reason may stand for several codes; the first named is the usual one.
                let codes =
                    found.iter().filter(|(other, _)| other == reason).filter_map(|(_, code)| code.as_ref());
                let codes: Vec<&String> = codes.collect();
                let told = format!("{:?}", known.code);
                assert!(codes.contains(&&told), "{reason} is told as {told}, but is {code}");
            }
        }
    }

    #[test]
    fn no_explanation_has_lost_its_reason() {
        let mut found = Found::new();
        search(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        found.extend(FailureKind::ALL.iter().map(|kind| (kind.reason().to_owned(), None)));
        for known in reasons::all() {
            assert!(found.iter().any(|(reason, _)| reason == known.reason), "nothing says {}", known.reason);
        }
    }

    #[test]
    fn reasons_are_sorted_and_unique() {
        assert!(reasons::all().is_sorted_by(|a, b| a.reason < b.reason));
    }
}
