//! `omnirelay schema`: JSON schemas of the documents, from the descriptors of the API.

pub(crate) mod documents;
pub(crate) mod message;
pub(crate) mod schemas;

use self::documents::{DocumentKind, own};
use super::complete;
use super::entry::{CommandEntry, entry};
use super::frame::table::TableLayout;
use crate::frame::prelude::*;

const LEAF: LeafCommand =
    LeafCommand::local("schema", "made from descriptors that are built in").exiting("0 1 2 3");
pub(crate) static ENTRY: CommandEntry = entry!(
    "schema",
    SchemaArgs,
    local,
    &[LEAF],
    &[
        own("error", "every command that fails, on standard error", schemas::error),
        own("results", "commands that were given several objects", schemas::results),
    ]
);

const EXAMPLES: &str = "\
Examples:
  omnirelay schema
  omnirelay schema peers
  omnirelay schema peer-event -o yaml";

/// Print the JSON schema of a document; without a kind, list them
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct SchemaArgs {
    /// The kind of document, such as peers
    #[arg(value_name = "KIND", add = complete::list(kinds))]
    kind: Option<String>,
}

static COLUMNS: &[Column] = &[
    Column::new("kind", |row, _| text(row, "kind").to_owned()).keep(),
    Column::new("printed-by", |row, _| text(row, "printedBy").to_owned()),
];

/// Prints a schema, or the list of them.
///
/// # Errors
/// Not found, when there is no such kind.
fn run(args: &SchemaArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let Some(kind) = &args.kind else { return all(session) };
    let Some(document) = documents().into_iter().find(|document| document.kind == kind) else {
        let kinds: Vec<&str> = documents().into_iter().map(|document| document.kind).collect();
        return Err(CliError::new(reasons::SCHEMA_UNKNOWN, format!("there is no document `{kind}`"))
            .hint(format!("choose from {}", kinds.join(", "))));
    };
    let schema = document.schema()?;
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    session.show(&CommandOutput::lines(schema, format!("schema/{kind}"), format!("{text}\n")))?;
    Ok(Exit::Ok)
}

fn kinds() -> Vec<String> {
    documents().into_iter().map(|document| document.kind.to_owned()).collect()
}

/// All documents that commands print, by the alphabet.
fn documents() -> Vec<&'static DocumentKind> {
    let mut all: Vec<_> = super::entries().flat_map(|entry| entry.documents).collect();
    all.sort_by_key(|document| document.kind);
    all
}

fn all(session: &mut CommandSession) -> Result<Exit, CliError> {
    let row = |document: &DocumentKind| json!({"kind": document.kind, "printedBy": document.printed_by});
    let rows: Vec<Value> = documents().into_iter().map(row).collect();
    let moment = CellContext { now_ms: None, absolute: false };
    let table = TextTable::of(COLUMNS, &rows, moment, &TableLayout::default())?;
    session.show(&CommandOutput {
        document: json!({"schemaVersion": "v1", "schemas": rows}),
        items: Some(rows),
        names: documents().into_iter().map(|document| format!("schema/{}", document.kind)).collect(),
        text: TextForm::Table(table),
    })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_has_a_schema() {
        for document in documents() {
            let schema =
                document.schema().unwrap_or_else(|error| panic!("{}: {}", document.kind, error.to_text()));
            assert_eq!(schema["type"], "object", "{}", document.kind);
            assert!(!schema.to_string().contains("null"), "{}: {schema}", document.kind);
        }
    }

    #[test]
    fn schema_says_what_the_proto_says() {
        let peers = documents().into_iter().find(|document| document.kind == "peers").unwrap();
        let schema = peers.schema().unwrap();
        assert_eq!(
            schema["$defs"]["Peer"]["properties"]["version"]["type"], "string",
            "64-bit numbers are strings"
        );
        assert_eq!(schema["$defs"]["Peer"]["properties"]["statusSince"]["format"], "date-time");
        assert!(schema["properties"]["cursor"]["description"].as_str().unwrap().contains("registry stood"));
        let required = schema["$defs"]["Peer"]["required"].as_array().unwrap();
        assert!(required.contains(&json!("nodeId")) && !required.contains(&json!("rttMs")));
        assert!(!required.contains(&json!("metadata")), "a message may be absent");
    }
}
