//! `audit verify`: the trail of a mesh, or an export of it.

use std::path::PathBuf;
use std::time::Duration;

use omnirelay_wire::rpc::audit_service;

use super::offline::{self, NodePin};
use super::since;
use crate::frame::prelude::*;

pub(super) const VERIFY: RpcMethod = audit_service::VERIFY;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("audit verify", &[&VERIFY]).exiting("0 1 2 5 6 8 9 10 11");

/// How long the check of a whole trail may take when nobody says: longer than any other call.
const PATIENCE: Duration = Duration::from_secs(600);

const EXAMPLES: &str = "\
Examples:
  omnirelay audit verify
  omnirelay audit verify --since 24h -o json | jq .unsealed
  omnirelay audit verify audit.jsonl --key node-1=jQGFJ8Nq0pXq4SbBvA3Qp5cTt9P6Y1J8o4Rk2mWm0aA=";

/// Check that no audit record was changed, removed, moved or added
///
/// Without a file the daemon checks the trail in the store. With one an export is checked, and no daemon is
/// needed. Exits with 10 when something is wrong. The daemon is waited for up to 10 minutes unless
/// --request-timeout says otherwise.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct AuditVerifyArgs {
    /// An export to check instead of the trail; - reads it from standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only records from here on: a time in UTC, or how long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = since, conflicts_with = "file")]
    since: Option<String>,
    /// The audit key that a node is known by, in base64 as its peer record has it; only with FILE
    #[arg(long = "key", value_name = "NODE=BASE64", requires = "file")]
    keys: Vec<NodePin>,
}

pub(super) async fn run(args: &AuditVerifyArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = match &args.file {
        Some(file) => offline::verify(file, &args.keys)?,
        None => {
            if !session.settings.request_timeout_given {
                session.settings.request_timeout = PATIENCE;
            }
            session.call(&Call::of(&VERIFY, &json!({"since": args.since}))?).await?
        }
    };
    let sound = flag(&document, "ok");
    let view = CommandOutput::lines(document.clone(), "audit/verify", describe(&document));
    session.show(&view)?;
    if text(&document, "keysFrom") == "file" {
        session.notes().warn("the keys are those in the file: pin them with --key NODE=BASE64");
    }
    Ok(if sound { Exit::Ok } else { Exit::Negative })
}

fn number(document: &Value, name: &str) -> u64 {
    plain(field(document, name)).parse().unwrap_or(0)
}

/// The verdict, what is wrong, and the counts of each node.
fn describe(document: &Value) -> String {
    let sealed = count(number(document, "sealed"), "record");
    let findings = items(document, "findings");
    let mut lines = match findings.len() {
        0 => format!("sound: {sealed} checked against their seals\n"),
        _ => format!("NOT SOUND: {}\n", findings.iter().map(finding).collect::<Vec<_>>().join("\n  and: ")),
    };
    let unsealed = number(document, "unsealed");
    if unsealed > 0 {
        lines.push_str(&format!("unsealed: {}, not judged\n", count(unsealed, "record")));
    }
    let of_before = number(document, "ofBefore");
    if of_before > 0 {
        lines.push_str(&format!(
            "of before: {}, found unsealed when their nodes were set up anew; who wrote them is not known\n",
            count(of_before, "record")
        ));
    }
    let (signed, older) = (number(document, "signedRecords"), number(document, "signedRecordsOfBefore"));
    if signed + older > 0 {
        let older = match older {
            0 => String::new(),
            older => format!(", {older} older than what was looked at"),
        };
        lines.push_str(&format!("who may do what: {} as the trail says{older}\n", count(signed, "record")));
    }
    let left_out = number(document, "leftOut");
    if left_out > 0 {
        lines.push_str(&format!("left out: {}, by the filters of the export\n", count(left_out, "record")));
    }
    for node in items(document, "nodes") {
        let chains = items(node, "chains");
        let newest = chains.iter().map(|chain| text(chain, "sequence")).collect::<Vec<_>>().join(", ");
        lines.push_str(&format!(
            "{}: {} sealed, {} unsealed, newest seal {}\n",
            printable(text(node, "nodeId")),
            number(node, "sealed"),
            number(node, "unsealed"),
            if newest.is_empty() { "-" } else { &newest },
        ));
    }
    lines
}

/// `record 019a... of node-1: changed: it is not what was sealed`
fn finding(finding: &Value) -> String {
    let (record, seal, object) = (text(finding, "recordId"), text(finding, "seal"), text(finding, "object"));
    let place = match (object, record) {
        ("", "") => format!("seal {seal}"),
        ("", record) => format!("record {record}"),
        (object, "") => object.to_owned(),
        (object, record) => format!("{object}, which record {record} tells of"),
    };
    let node = match (text(finding, "nodeId"), object) {
        ("", _) => String::new(),
        (node, "") => format!(" of {node}"),
        (node, _) => format!(", written by {node}"),
    };
    let wrong = match text(finding, "wrong") {
        "unwritten" => "not what was written".to_owned(),
        wrong => wrong.replace('_', " "),
    };
    printable(&format!("{place}{node}: {wrong}: {}", text(finding, "what")))
}
