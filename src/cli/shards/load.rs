//! `mesh shards load`.

use omnirelay_wire::rpc::shard_control_service;

use super::which::NamespaceArg;
use crate::frame::document::real;
use crate::frame::prelude::*;
use crate::namespaces;

const LOADS: RpcMethod = shard_control_service::LOADS;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh shards load", &[&LOADS, &namespaces::LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards load
  omnirelay mesh shards load -n orders -o wide
  omnirelay mesh shards load -n orders -o json | jq -r '.nodes[] | select(.overloaded) | .nodeId'";

/// Show what nodes have to do, as their workers report it
///
/// Who has most to do comes first. The score is the mean of four parts, each beside the node that has most of it: pieces of work that
/// were taken and are not done, those that wait, how long one takes, and how many of a hundred fail. What is above its threshold is
/// marked with `!`; a node of which that is so for as long as the policy says gets no more shards.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsLoadArgs {
    #[command(flatten)]
    which: NamespaceArg,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("node", |node, _| text(node, "nodeId").to_owned()).keep(),
    Column::new("rank", |node, _| reported(node, || plain(field(node, "rank"))))
        .number(|node| real(node, "rank"))
        .keep(),
    Column::new("score", |node, _| reported(node, || format!("{:.2}", real(node, "score"))))
        .number(|node| real(node, "score")),
    Column::new("pending", |node, _| part(node, "pending", 0, 1.0)).number(|node| value(node, "pending")),
    Column::new("queue", |node, _| part(node, "queue_depth", 0, 1.0))
        .number(|node| value(node, "queue_depth")),
    Column::new("latency ms", |node, _| part(node, "latency", 1, 1.0)).number(|node| value(node, "latency")),
    Column::new("errors %", |node, _| part(node, "errors", 2, 100.0)).number(|node| value(node, "errors")),
    Column::new("shards", |node, _| plain(field(node, "shards"))).number(|node| real(node, "shards")),
    Column::new("standing", |node, _| standing(node)),
    Column::new("over since", |node, moment| time::ago(field(node, "overSince"), moment)).wide(),
    Column::new("said", |node, moment| time::ago(field(node, "at"), moment)).wide(),
];

/// What is only known of a node whose workers report.
fn reported(node: &Value, shown: impl Fn() -> String) -> String {
    if real(node, "rank") > 0.0 { shown() } else { String::new() }
}

fn find<'v>(node: &'v Value, name: &str) -> Option<&'v Value> {
    items(node, "parts").iter().find(|part| text(part, "name") == name)
}

fn value(node: &Value, name: &str) -> f64 {
    find(node, name).map_or(0.0, |part| real(part, "value"))
}

/// `120!`
fn part(node: &Value, name: &str, digits: usize, factor: f64) -> String {
    let Some(part) = find(node, name) else { return String::new() };
    let mark = if flag(part, "over") { "!" } else { "" };
    format!("{:.digits$}{mark}", real(part, "value") * factor)
}

fn standing(node: &Value) -> String {
    let is_overloaded = flag(node, "overloaded");
    if is_overloaded { "overloaded".to_owned() } else { text(node, "standing").to_owned() }
}

pub(super) async fn run(args: &ShardsLoadArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let namespace = args.which.one(session).await?;
    let document = session.call(&Call::of(&LOADS, &json!({ "namespace": namespace }))?).await?;
    session.warn_if_stale(&document);
    let list = ListSpec {
        field: "nodes",
        columns: COLUMNS,
        name: |node| format!("peer/{}", text(node, "nodeId")),
        none: "There are no nodes.".to_owned(),
        footer: |document, all| {
            let over = items(document, "nodes").iter().filter(|node| flag(node, "overloaded"));
            format!("{}, {} with too much to do", count(all.len() as u64, "node"), over.count())
        },
    };
    list.show(document, &args.table, session)
}
