//! `omnirelay explain`: what a reason in an error means, a check that did not pass, or a word in a table, and what to do about it.

mod checks;
mod words;

use omnirelay_wire::reasons::{self, Reason};

use super::complete;
use super::documents;
use super::entry::{CommandEntry, entry};
use super::frame::table::TableLayout;
use crate::frame::prelude::*;

const LEAF: LeafCommand = LeafCommand::local("explain", "prints text that is built in").exiting("0 1 2 3");
pub(crate) static ENTRY: CommandEntry = entry!("explain", ExplainArgs, local, &[LEAF], &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay explain
  omnirelay explain OUTCOME_UNKNOWN
  omnirelay explain membership-dead
  omnirelay explain suspect
  omnirelay explain $(omnirelay mesh peers get nobody -o json 2>&1 | jq -r .error.reason)";

/// Explain the reason of an error, a check, or a word in a table
///
/// Without one, the reasons are listed.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The reason, such as PEER_NOT_FOUND, the id of a check, or a word in a table, such as suspect
    #[arg(value_name = "REASON|CHECK|WORD", add = complete::list(known))]
    reason: Option<String>,
}

static COLUMNS: &[Column] = &[
    Column::new("reason", |row, _| text(row, "reason").to_owned()).keep(),
    Column::new("code", |row, _| text(row, "code").to_owned()),
    Column::new("exit", |row, _| row["exitCode"].to_string())
        .number(|row| row["exitCode"].as_f64().unwrap_or(0.0)),
    Column::new("meaning", |row, _| text(row, "meaning").to_owned()),
];

/// All that can be explained.
fn known() -> Vec<String> {
    let checks = checks::explained().map(|check| check.id.to_owned());
    let mut words: Vec<String> = words::words().into_iter().map(|word| word.word).collect();
    words.sort_unstable();
    words.dedup();
    reasons::all().map(|reason| reason.name.to_owned()).chain(checks).chain(words).collect()
}

/// Prints the explanation.
///
/// # Errors
/// Not found, when there is no such reason.
fn run(args: &ExplainArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let Some(wanted) = &args.reason else { return all(session) };
    if let Some(known) = checks::explained().find(|known| known.id.eq_ignore_ascii_case(wanted)) {
        let text = listing(&[
            ("check", known.id.to_owned()),
            ("category", known.category.to_owned()),
            ("passes when", known.description.to_owned()),
            ("else", known.means.to_owned()),
            ("read", documents::on_this_host(&format!("docs/{}", known.page)).into_owned()),
        ]);
        let document = json!({
            "schemaVersion": "v1", "check": known.id, "category": known.category, "description": known.description, "meaning": known.means,
            "page": format!("docs/{}", known.page),
        });
        return session
            .show(&CommandOutput::lines(document, format!("check/{}", known.id), text))
            .map(|()| Exit::Ok);
    }
    let meanings = words::meanings(wanted);
    let wanted = wanted.to_ascii_uppercase().replace('-', "_");
    if let (Some(word), None) = (meanings.first(), reasons::all().find(|known| known.name == wanted)) {
        let rows: Vec<(&str, String)> =
            meanings.iter().map(|found| (found.of, found.means.clone())).collect();
        let document = json!({
            "schemaVersion": "v1", "word": word.word,
            "meanings": meanings.iter().map(|found| json!({"of": found.of, "meaning": found.means})).collect::<Vec<_>>(),
        });
        return session
            .show(&CommandOutput::lines(document, format!("word/{}", word.word), listing(&rows)))
            .map(|()| Exit::Ok);
    }
    let Some(known) = reasons::all().find(|known| known.name == wanted) else {
        let message = format!("there is no reason, no check and no word in a table `{wanted}`");
        return Err(CliError::new(reasons::REASON_UNKNOWN, message)
            .cause("this version does not know it; a newer daemon may")
            .hint("omnirelay explain    # lists those it knows"));
    };
    let mut document = row(known);
    document["schemaVersion"] = json!("v1");
    let text = listing(&[
        ("reason", known.name.to_owned()),
        ("code", format!("{} (exit {})", known.code.word(), known.code.exit() as u8)),
        ("meaning", known.means.to_owned()),
        ("next", documents::on_this_host(known.next).into_owned()),
    ]);
    session.show(&CommandOutput::lines(document, format!("reason/{}", known.name), text))?;
    Ok(Exit::Ok)
}

fn all(session: &mut CommandSession) -> Result<Exit, CliError> {
    let rows: Vec<Value> = reasons::all().map(row).collect();
    let moment = CellContext { now_ms: None, absolute: false };
    let table = TextTable::of(COLUMNS, &rows, moment, &TableLayout::default())?;
    session.show(&CommandOutput {
        document: json!({"schemaVersion": "v1", "reasons": rows}),
        items: Some(rows),
        names: reasons::all().map(|known| format!("reason/{}", known.name)).collect(),
        text: TextForm::Table(table),
    })?;
    Ok(Exit::Ok)
}

fn row(known: &Reason) -> Value {
    json!({
        "reason": known.name,
        "code": known.code.word(),
        "exitCode": known.code.exit() as u8,
        "meaning": known.means,
        "next": known.next,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The text of every source file below `folder`.
    fn read(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else if is_production(&path) {
                let source = std::fs::read_to_string(path).unwrap();
                text.push_str(source.split("#[cfg(test)]\nmod tests {").next().unwrap());
            }
        }
    }

    fn is_production(path: &Path) -> bool {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".rs") && !name.ends_with("_test.rs") && name != "tests.rs"
    }

    #[test]
    fn no_explanation_has_lost_its_reason() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut text = String::new();
        for folder in ["src", "crates"] {
            read(&root.join(folder), &mut text);
        }
        let said: std::collections::BTreeSet<&str> = text
            .split("reasons::")
            .skip(1)
            .filter_map(|rest| {
                rest.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_').next()
            })
            .collect();
        for known in reasons::all() {
            assert!(said.contains(known.name), "nothing says {}", known.name);
        }
    }
}
