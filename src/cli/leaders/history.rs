//! `mesh leaders history`.

use omnirelay_wire::rpc::leadership_control_service;

use super::KIND;
use super::columns::{led_ms, ms};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const HISTORY: RpcMethod = leadership_control_service::HISTORY;
pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh leaders history", &[&HISTORY])
    .exiting("0 1 2 3 5 6 8 9 11")
    .listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders history
  omnirelay mesh leaders history shard/orders/04 --limit 5 --absolute
  omnirelay mesh leaders history global-control -o json | jq -r '.tenures[].endReason'";

/// Show who led scopes, from when to when, and why it ended
///
/// The newest first. The newest 16 of each scope are kept; the audit trail has all.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct LeadersHistoryArgs {
    /// A scope or leader/SCOPE, in full [default: all]
    #[arg(value_name = "SCOPE", value_parser = super::scope, add = complete::ids(&super::OBJECTS))]
    scope: Option<String>,
    /// At most this many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("when", |tenure, moment| time::ago(field(tenure, "electedAt"), moment))
        .ranked(|tenure| time::millis(field(tenure, "electedAt")).unwrap_or(0) as f64)
        .keep(),
    Column::new("scope", |tenure, _| text(tenure, "scope").to_owned()).keep(),
    Column::new("leader", |tenure, _| text(tenure, "leaderId").to_owned()).keep(),
    Column::new("term", |tenure, _| text(tenure, "term").to_owned())
        .number(|tenure| text(tenure, "term").parse().unwrap_or(0.0)),
    Column::new("fence", |tenure, _| text(tenure, "fenceToken").to_owned())
        .number(|tenure| text(tenure, "fenceToken").parse().unwrap_or(0.0)),
    Column::new("led-for", |tenure, moment| {
        led_ms(tenure, moment.now_ms).map(time::span).unwrap_or_default()
    })
    .titled("LED-FOR"),
    Column::new("reason", |tenure, _| text(tenure, "reason").to_owned()),
    Column::new("leaderless", |tenure, _| {
        ms(field(tenure, "leaderlessMs")).map(time::span).unwrap_or_default()
    })
    .number(|tenure| ms(field(tenure, "leaderlessMs")).unwrap_or(0) as f64),
    Column::new("ended", |tenure, _| text(tenure, "endReason").to_owned()),
    Column::new("until", |tenure, moment| time::ago(field(tenure, "endedAt"), moment)).wide(),
    Column::new("correlation", |tenure, _| text(tenure, "correlationId").to_owned()).wide(),
];

pub(super) async fn run(args: &LeadersHistoryArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let request = json!({ "scope": args.scope, "limit": args.limit });
    let mut document = session.call(&Call::of(&HISTORY, &request)?).await?;
    args.table.order(COLUMNS, &mut document, "tenures")?;
    let tenures = items(&document, "tenures").to_vec();
    let table =
        TextTable::of(COLUMNS, &tenures, time::moment(&document, args.table.absolute), &args.table.layout())?;
    session.warn_if_stale(&document);
    if tenures.is_empty() && session.format().is_text() {
        let whom = args.scope.as_deref().unwrap_or("any scope");
        session.notes().say(&format!("Nobody has led {whom} yet."));
        return Ok(Exit::Ok);
    }
    // One scope has many tenures; its name is said once.
    let mut names: Vec<String> = Vec::new();
    for name in tenures.iter().map(|tenure| format!("{KIND}/{}", text(tenure, "scope"))) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    session.show(&CommandOutput { document, items: Some(tenures), names, text: TextForm::Table(table) })?;
    Ok(Exit::Ok)
}
