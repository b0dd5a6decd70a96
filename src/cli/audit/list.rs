//! `audit list`.

use std::time::SystemTime;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::cli::args::{PageArgs, TableArgs};
use crate::cli::complete;
use crate::cli::document::{field, flag, items, text};
use crate::cli::error::CliError;
use crate::cli::list::{self, Page};
use crate::cli::output::{Text, View};
use crate::cli::rpc::{Call, Leaf, Rpc, Verb};
use crate::cli::session::Session;
use crate::cli::table::{self, Column, Moment, Table};
use crate::cli::time;
use crate::wire::fault::Exit;

pub const LIST: Rpc = Rpc {
    method: "omnirelay.security.v1.AuditService/List",
    verb: Verb::Get,
    path: "/control/audit",
    scope: "mesh.admin",
};
pub const LEAF: Leaf = Leaf::read("audit list", &[&LIST]).exiting("0 1 2 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay audit list --limit 20
  omnirelay audit list --since 1h --action 'peers.*'
  omnirelay audit list --object peer/node-2 -o json | jq -r '.records[].reason'";

/// List audit records, newest first
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub struct ListArgs {
    /// Only from here on: a time in UTC, or how long ago, such as 10m
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    since: Option<String>,
    /// Only what this principal did
    #[arg(long, value_name = "PRINCIPAL")]
    actor: Option<String>,
    /// Only this action, such as peers.cordon; peers.* is all of an object's
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done to this object, such as peer/node-2
    #[arg(long, value_name = "KIND/ID", add = ArgValueCompleter::new(complete::objects))]
    object: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("time", |record, moment| time::ago(field(record, "time"), moment))
        .ranked(|record| time::millis(field(record, "time")).unwrap_or(0) as f64)
        .keep(),
    Column::new("actor", |record, _| text(record, "actor").to_owned()),
    Column::new("action", |record, _| action(record)).keep(),
    Column::new("object", |record, _| text(record, "object").to_owned()).keep(),
    Column::new("changes", |record, _| {
        let lines = items(record, "changes").iter().filter_map(Value::as_str);
        lines.collect::<Vec<_>>().join("; ")
    }),
    Column::new("reason", |record, _| text(record, "reason").to_owned()),
    Column::new("node", |record, _| text(record, "nodeId").to_owned()).wide(),
    Column::new("revision", |record, _| text(record, "revision").to_owned())
        .number(|record| text(record, "revision").parse().unwrap_or(0.0))
        .wide(),
    Column::new("request", |record, _| text(record, "requestId").to_owned()).wide(),
    Column::new("record", |record, _| text(record, "recordId").to_owned()).wide(),
];

fn action(record: &Value) -> String {
    let dry = if flag(record, "dryRun") { " (dry run)" } else { "" };
    format!("{}{dry}", text(record, "action"))
}

/// The time itself, or now less a duration, as RFC 3339.
fn since(given: &str) -> Result<String, String> {
    if humantime::parse_rfc3339(given).is_ok() {
        return Ok(given.to_owned());
    }
    let ago = humantime::parse_duration(given).map_err(|_| {
        format!("`{given}` is neither a time such as 2026-11-20T06:00:00Z nor a duration such as 10m")
    })?;
    let then = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(humantime::format_rfc3339_millis(then.max(SystemTime::UNIX_EPOCH)).to_string())
}

pub async fn run(args: &ListArgs, session: &mut Session) -> Result<Exit, CliError> {
    if let Some(by) = &args.table.sort_by {
        table::find(COLUMNS, &by.column, "--sort-by")?;
    }
    let request = |page: &Page| {
        let request = json!({
            "actor": args.actor, "action": args.action, "object": args.object, "since": args.since,
            "pageSize": page.size, "pageToken": page.token,
        });
        Call::of(&LIST, &request)
    };
    let sorts_here = args.table.sort_by.is_some();
    let mut document = list::fetch(session, "records", &args.page, sorts_here, request).await?;
    if let (Some(by), Some(records)) =
        (&args.table.sort_by, document.get_mut("records").and_then(Value::as_array_mut))
    {
        table::sort(COLUMNS, records, by)?;
    }
    list::limit(session, &mut document, "records", &args.page);
    let records = items(&document, "records").to_vec();
    let moment = Moment {
        now_ms: time::millis(field(&document, "generatedAt")).or_else(time::now_ms),
        absolute: args.table.absolute,
    };
    let table = Table::of(COLUMNS, &records, moment, &args.table.layout())?;
    let empty = records.is_empty();
    if empty && session.format().is_text() {
        session.notes().say("No audit records match.");
    } else {
        let names = records.iter().map(|record| format!("audit/{}", text(record, "recordId"))).collect();
        session.show(&View { document, items: Some(records), names, text: Text::Table(table) })?;
    }
    Ok(if empty && args.page.fail_empty { Exit::Negative } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_a_time_or_an_age() {
        assert_eq!(since("2026-11-20T06:00:00Z").unwrap(), "2026-11-20T06:00:00Z");
        assert!(humantime::parse_rfc3339(&since("10m").unwrap()).is_ok());
        assert!(since("yesterday").is_err());
    }
}
