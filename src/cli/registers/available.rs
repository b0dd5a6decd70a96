//! `registers available`: what all nodes offer, each register once.

use omnirelay_wire::rpc::advertisement_service;

use super::KIND;
use super::watch::{self, WATCH, WATCHED};
use crate::frame::list;
use crate::frame::prelude::*;
use crate::frame::table;
use crate::node::NODE;
use crate::node::NodeArgs;
use crate::peers;

pub(crate) const LIST: RpcMethod = advertisement_service::LIST_AVAILABLE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("registers available", &[&LIST, &WATCH, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 5 6 8 9 10 11")
        .listing(&COLUMNS, &["source"]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers available
  omnirelay registers available --filter source=node-2 -o wide
  omnirelay registers available --sort-by peers:desc --limit 10
  omnirelay registers available -o json | jq -r '.registers[].registerId'
  omnirelay registers available --watch -o jsonl --cursor-file registers.cursor";

/// List the public registers of all nodes, or watch their advertisements
///
/// Each register is shown once, whoever advertises it. With --watch each advertisement is one object: what one
/// node says of one register.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersAvailableArgs {
    /// Only what is advertised by a node: source=node-2; several are alternatives
    #[arg(long, value_name = "source=NODE,...", value_delimiter = ',', value_parser = source,
          help_heading = "List options")]
    filter: Vec<String>,
    #[command(flatten)]
    at: AtArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
    /// Go on with changes of advertisements as they happen
    #[arg(short, long, help_heading = "Watch options")]
    watch: bool,
    #[command(flatten)]
    watching: WatchArgs,
}

/// The node in `source=NODE`.
fn source(given: &str) -> Result<String, String> {
    match given.split_once('=') {
        Some(("source", node)) if !node.is_empty() => Ok(node.to_owned()),
        Some((field, _)) if field != "source" => {
            Err(format!("registers cannot be filtered by `{field}`, only by source"))
        }
        Some(_) | None => Err(format!("`{given}` is no source=NODE")),
    }
}

static COLUMNS: &[Column] = &[
    Column::new("register", |register, _| text(register, "registerId").to_owned()).keep(),
    Column::new("name", |register, _| text(register, "name").to_owned()),
    Column::new("peers", |register, _| number(register, "peerCount").to_string())
        .number(|register| number(register, "peerCount") as f64),
    Column::new("sources", |register, _| sources(register)),
    Column::new("version", |register, _| number(register, "latestVersion").to_string())
        .number(|register| number(register, "latestVersion") as f64),
    Column::new("docket", |register, _| number(register, "latestDocketVersion").to_string())
        .number(|register| number(register, "latestDocketVersion") as f64),
    Column::new("state", |register, _| text(register, "syncState").to_owned()),
    Column::new("ttl", |register, moment| time::left(field(register, "expiresAt"), moment))
        .ranked(|register| time::millis(field(register, "expiresAt")).unwrap_or(i64::MAX) as f64),
    Column::new("description", |register, _| text(register, "description").to_owned()).wide(),
    Column::new("replicas", |register, _| number(register, "fullReplicaPeerCount").to_string())
        .number(|register| number(register, "fullReplicaPeerCount") as f64)
        .wide(),
];

/// `node-1,node-2`
fn sources(register: &Value) -> String {
    joined(register, "sources")
}

pub(super) async fn run(
    args: &RegistersAvailableArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    check(args, session)?;
    args.at.check(args.watch)?;
    node.go(session).await?;
    if args.watch {
        return watch::watch(&[], &args.filter, &args.watching, &args.table, session).await;
    }
    let request = |page: &ListPage| {
        let request = json!({ "source": args.filter, "pageSize": page.size, "pageToken": page.token, "at": args.at.text() });
        Call::of(&LIST, &request)
    };
    // The daemon sorts by id only, so for another order all of the list is needed first.
    let sorts_here = args.table.sort_by.is_some();
    let mut document = list::fetch(session, "registers", &args.page, sorts_here, request).await?;
    args.table.order(COLUMNS, &mut document, "registers")?;
    list::limit(session, &mut document, "registers", &args.page);
    args.at.tell(&document, session);
    show(args, session, document)
}

/// Refuses flags that do not fit, before anybody is asked anything.
fn check(args: &RegistersAvailableArgs, session: &CommandSession) -> Result<(), CliError> {
    args.watching.check(args.watch)?;
    let (columns, sort_by) = (&args.table.columns, &args.table.sort_by);
    let known = if args.watch { WATCHED } else { COLUMNS };
    for column in columns.iter().filter(|_| session.format().is_text()) {
        table::find(known, column, "--columns")?;
    }
    if let (Some(by), false) = (sort_by, args.watch) {
        table::find(COLUMNS, &by.column, "--sort-by")?;
    }
    Ok(())
}

fn show(
    args: &RegistersAvailableArgs,
    session: &mut CommandSession,
    document: Value,
) -> Result<Exit, CliError> {
    let found = items(&document, "registers").to_vec();
    let moment = time::moment(&document, args.table.absolute);
    // Made before the emptiness check, so that a wrong --columns is an error in any case.
    let table = TextTable::of(COLUMNS, &found, moment, &args.table.layout())?;
    let empty = found.is_empty();
    if empty && session.format().is_text() {
        session.notes().say(&match args.filter.as_slice() {
            [] => "No node advertises a register.".to_owned(),
            nodes => format!("No registers match source={}.", nodes.join(",source=")),
        });
    } else {
        let names = found.iter().map(|one| format!("{KIND}/{}", text(one, "registerId"))).collect();
        let view = CommandOutput {
            document: document.clone(),
            items: Some(found.clone()),
            names,
            text: TextForm::Table(table),
        };
        session.show(&view)?;
        if session.format().is_text() {
            session.notes().say(&footer(&document, &found));
        }
    }
    session.warn_if_stale(&document);
    Ok(if empty && args.page.fail_empty { Exit::Negative } else { Exit::Ok })
}

/// `3 registers: 2 active, 1 unverified, rev 7f2c:48213`
fn footer(document: &Value, found: &[Value]) -> String {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for register in found {
        let state = text(register, "syncState");
        match states.iter_mut().find(|(known, _)| *known == state) {
            Some((_, times)) => *times += 1,
            None => states.push((state, 1)),
        }
    }
    states.sort_unstable();
    let states: Vec<String> = states.iter().map(|(state, times)| format!("{times} {state}")).collect();
    format!(
        "{}: {}, rev {}",
        count(found.len() as u64, "register"),
        states.join(", "),
        text(document, "cursor")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_takes_sources_and_nothing_else() {
        assert_eq!(source("source=node-2").unwrap(), "node-2");
        assert!(source("status=alive").unwrap_err().contains("`status`"));
        assert!(source("source=").is_err() && source("node-2").is_err());
    }

    #[test]
    fn footer_counts_each_state() {
        let register = |state: &str| json!({ "syncState": state });
        let found = [register("unverified"), register("active"), register("active")];
        let footer = footer(&json!({"cursor": "1:7"}), &found);
        assert_eq!(footer, "3 registers: 2 active, 1 unverified, rev 1:7");
    }
}
