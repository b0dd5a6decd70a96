//! `ops list`.

use omnirelay_core::text::some_of;
use omnirelay_decisions::check::facts::NAMED_MAX;
use omnirelay_wire::rpc::operation_service;

use super::{KIND, done};
use crate::frame::prelude::*;
use crate::node::NODE;
use crate::node::NodeArgs;
use crate::peers;

pub(crate) const LIST: RpcMethod = operation_service::LIST;
pub(crate) const LEAF: LeafCommand =
    LeafCommand::read("ops list", &[&LIST, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 5 6 8 9 10 11")
        .listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay ops list
  omnirelay ops list --state running,pending --all-nodes
  omnirelay ops list --node node-2 --action registers.resync
  omnirelay ops list --state running -o name | omnirelay ops wait -";

/// List the operations of a daemon, the newest first
///
/// Each daemon knows its own, and forgets them when it stops; of those that have ended it keeps the newest.
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(crate) struct OpsListArgs {
    /// Only those in one of these states
    #[arg(long, value_name = "STATE,...", value_delimiter = ',', help_heading = "List options",
          value_parser = ["pending", "running", "succeeded", "failed", "partial", "cancelled"])]
    state: Vec<String>,
    /// Only those that do this, such as registers.resync
    #[arg(long, value_name = "ACTION,...", value_delimiter = ',', help_heading = "List options")]
    action: Vec<String>,
    /// Those of the other nodes too
    #[arg(long, help_heading = "List options")]
    all_nodes: bool,
    /// Exit with 10 when the list is empty
    #[arg(long, help_heading = "List options")]
    fail_empty: bool,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("id", |operation, _| text(operation, "operationId").to_owned()).keep(),
    Column::new("action", |operation, _| text(operation, "action").to_owned()),
    Column::new("state", |operation, _| text(operation, "state").to_owned()).keep(),
    Column::new("done", |operation, _| done(operation)),
    Column::new("by", |operation, _| text(operation, "requestedBy").to_owned()),
    Column::new("age", |operation, moment| time::ago(field(operation, "startedAt"), moment))
        .ranked(|operation| -(time::millis(field(operation, "startedAt")).unwrap_or(0) as f64)),
    Column::new("message", |operation, _| text(operation, "message").to_owned()),
    Column::new("node", |operation, _| text(operation, "nodeId").to_owned()).wide(),
    Column::new("took", |operation, _| took(operation)).wide(),
    Column::new("reason", |operation, _| text(operation, "reason").to_owned()).wide(),
];

/// Time that an operation took, once it has ended.
pub(crate) fn took(operation: &Value) -> String {
    let at = |name: &str| time::millis(field(operation, name));
    let took =
        at("finishedAt").zip(at("startedAt")).map(|(end, start)| u64::try_from(end - start).unwrap_or(0));
    took.map(time::span).unwrap_or_default()
}

pub(crate) async fn run(
    args: &OpsListArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    node.go(session).await?;
    let call =
        Call::of(&LIST, &json!({ "state": args.state, "action": args.action, "allNodes": args.all_nodes }))?;
    let mut document = session.call(&call).await?;
    let silent: Vec<&str> = items(&document, "silentNodes").iter().filter_map(Value::as_str).collect();
    if !silent.is_empty() {
        session.notes().warn(&format!("not asked: {}", some_of(&silent, NAMED_MAX)));
    }
    if flag(&document, "more") {
        session.notes().say("There are older operations, which one answer has no room for.");
    }
    args.table.order(COLUMNS, &mut document, "operations")?;
    let list = ListSpec {
        field: "operations",
        columns: COLUMNS,
        name: |one| format!("{KIND}/{}", text(one, "operationId")),
        none: nothing(args, text(&document, "localNodeId")),
        footer: |document, all| {
            format!("{} of {}", count(all.len() as u64, "operation"), text(document, "localNodeId"))
        },
    };
    list.print(document, &args.table, args.fail_empty, session)
}

fn nothing(args: &OpsListArgs, node: &str) -> String {
    let states = args.state.iter().map(|state| format!("state={state}"));
    let words: Vec<String> =
        states.chain(args.action.iter().map(|action| format!("action={action}"))).collect();
    match words.join(", ") {
        words if words.is_empty() => format!("{node} knows of no operations."),
        words => format!("No operations of {node} match {words}."),
    }
}
