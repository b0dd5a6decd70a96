//! `mesh shards history`.

use omnirelay_wire::rpc::shard_control_service;

use super::which::NamespaceArg;
use crate::frame::prelude::*;
use crate::namespaces;

const HISTORY: RpcMethod = shard_control_service::HISTORY;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh shards history", &[&HISTORY, &namespaces::LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards history
  omnirelay mesh shards history -n orders --limit 5 --absolute
  omnirelay mesh shards history -n orders -o json | jq '[.changes[].moved] | add'";

/// The most versions of one answer.
const HISTORY_MAX: u32 = 1000;

/// Show the versions of a map: when, by whom, why, and how much moved
///
/// The newest first. What each did to which shard is told by mesh shards diff.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsHistoryArgs {
    #[command(flatten)]
    which: NamespaceArg,
    /// At most this many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(HISTORY_MAX)))]
    limit: u32,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("version", |change, _| text(change, "version").to_owned())
        .number(|change| text(change, "version").parse().unwrap_or(0.0))
        .keep(),
    Column::new("when", |change, moment| time::ago(field(change, "at"), moment))
        .ranked(|change| time::millis(field(change, "at")).unwrap_or(0) as f64)
        .keep(),
    Column::new("cause", |change, _| text(change, "cause").to_owned()).keep(),
    Column::new("moved", |change, _| moved(change))
        .number(|change| field(change, "moved").as_f64().unwrap_or(0.0)),
    Column::new("changed", |change, _| field(change, "changed").to_string())
        .number(|change| field(change, "changed").as_f64().unwrap_or(0.0)),
    Column::new("actor", |change, _| text(change, "actor").to_owned()),
    Column::new("plan", |change, _| text(change, "planId").to_owned()),
    Column::new("ticket", |change, _| text(change, "changeTicket").to_owned()),
    Column::new("reason", |change, _| text(change, "reason").to_owned()),
    Column::new("checksum", |change, _| text(change, "checksum").to_owned()).wide(),
    Column::new("position", |change, _| text(change, "position").to_owned()).wide(),
];

/// `3 (2.3%)`
fn moved(change: &Value) -> String {
    let moved = field(change, "moved").as_u64().unwrap_or(0);
    let percent = field(change, "movedPercent").as_f64().unwrap_or(0.0);
    if moved == 0 { "0".to_owned() } else { format!("{moved} ({percent:.1}%)") }
}

pub(super) async fn run(args: &ShardsHistoryArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let namespace = args.which.one(session).await?;
    let request = json!({ "namespace": namespace, "limit": args.limit });
    let document = session.call(&Call::of(&HISTORY, &request)?).await?;
    let stopped = stopped(items(&document, "changes"), args.limit);
    let list = ListSpec {
        field: "changes",
        columns: COLUMNS,
        name: |change| format!("map/{}/{}", text(change, "namespace"), text(change, "version")),
        none: "Nothing is kept of what has changed.".to_owned(),
        footer: |document, all| {
            format!(
                "{}, map {} (checksum {})",
                count(all.len() as u64, "version"),
                text(document, "map.version"),
                text(document, "map.checksum")
            )
        },
    };
    let exit = list.show(document, &args.table, session)?;
    if let Some(stopped) = stopped {
        session.notes().say(&stopped);
    }
    Ok(exit)
}

/// Says that there is more than was asked for, and how to see it; `None`: the first version of the map is among them, or fewer are
/// kept than were asked for.
fn stopped(changes: &[Value], limit: u32) -> Option<String> {
    let oldest = changes.iter().filter_map(|change| text(change, "version").parse::<u64>().ok()).min()?;
    if changes.len() < limit as usize || oldest <= 1 {
        return None;
    }
    let more = match limit {
        HISTORY_MAX.. => format!("mesh shards diff 1 {oldest} tells what came before"),
        _ => format!("--limit N shows more, up to {HISTORY_MAX}"),
    };
    Some(format!("Stopped at --limit {limit}, version {oldest}: {more}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_was_cut_says_so_and_how_to_go_on() {
        let changes = |from: u32, to: u32| -> Vec<Value> {
            (from..=to).rev().map(|version| json!({ "version": version.to_string() })).collect()
        };
        assert_eq!(stopped(&changes(1, 100), 100), None, "the first version is there");
        assert_eq!(stopped(&changes(5, 60), 100), None, "no more is kept");
        assert!(stopped(&changes(2, 101), 100).unwrap().contains("--limit N shows more, up to 1000"));
        assert!(stopped(&changes(7, 1006), 1000).unwrap().contains("mesh shards diff 1 7"));
        assert_eq!(stopped(&[], 100), None);
    }
}
