//! `context test`.

use std::time::Instant;

use crate::frame::client::Client;
use crate::frame::context_file::ContextFile;
use crate::frame::prelude::*;
use crate::frame::settings::{CommandTarget, ValueSource};
use crate::frame::table::TableLayout;
use crate::node::NODE;

pub(super) const LEAF: LeafCommand = LeafCommand::read("context test", &[&NODE]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay context test
  omnirelay context test prod-eu -o json";

/// Ask every address of a context who answers there
///
/// Exits with 0 when at least one does.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ContextTestArgs {
    /// Name of the context [default: the current one]
    #[arg(value_name = "NAME", add = crate::complete::contexts())]
    name: Option<String>,
}

static COLUMNS: &[Column] = &[
    Column::new("address", |row, _| text(row, "address").to_owned()).keep(),
    Column::new("result", |row, _| text(row, "result").to_owned()).keep(),
    Column::new("node", |row, _| text(row, "nodeId").to_owned()),
    Column::new("version", |row, _| text(row, "version").to_owned()),
    Column::new("took", |row, _| format!("{}ms", row["durationMs"])),
];

pub(super) async fn run(args: &ContextTestArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let target = match &args.name {
        Some(name) => named(session, name)?,
        None => session.target()?.clone(),
    };
    let mut rows = Vec::new();
    let mut failure = None;
    let mut answered = false;
    for address in &target.addresses {
        let single = CommandTarget { addresses: vec![address.clone()], ..target.clone() };
        let started = Instant::now();
        let asked = Client::new(&session.settings, single)?.call(&Call::of(&NODE, &json!({}))?).await;
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        answered |= asked.is_ok();
        rows.push(row(address.as_str(), &asked, ms));
        failure = failure.or(asked.err());
    }
    let names = rows.iter().map(|row| format!("address/{}", text(row, "address"))).collect();
    let moment = CellContext { now_ms: None, absolute: false };
    let table = TextTable::of(COLUMNS, &rows, moment, &TableLayout::default())?;
    session.show(&CommandOutput {
        document: json!({"schemaVersion": "v1", "name": target.context, "addresses": rows}),
        items: Some(rows),
        names,
        text: TextForm::Table(table),
    })?;
    match failure {
        Some(error) if !answered => Err(error),
        _ => Ok(Exit::Ok),
    }
}

fn named(session: &CommandSession, name: &str) -> Result<CommandTarget, CliError> {
    let file = ContextFile::load(&session.settings.config_path)?;
    let context = file.context(name)?.clone();
    session.settings.own_proof().prove(CommandTarget {
        context: context.name,
        addresses: context.addresses,
        cluster: context.cluster,
        protected: context.protected,
        token_file: session.settings.own_token_file().or(context.token_file),
        tls: session.settings.own_tls().over(&context.tls),
        source: ValueSource::File,
        named_by_flag: true,
    })
}

fn row(address: &str, asked: &Result<Value, CliError>, ms: u64) -> Value {
    match asked {
        Ok(node) => json!({
            "address": address, "result": "ok", "nodeId": text(node, "localNodeId"),
            "version": text(node, "version"), "durationMs": ms,
        }),
        Err(error) => json!({
            "address": address, "result": error.reason(), "error": error.to_json(), "durationMs": ms,
        }),
    }
}
