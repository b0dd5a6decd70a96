//! `mesh rebalance-plans list`, and what it has in common with `watch`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::KIND;
use super::follow::how_far;
use crate::complete;
use crate::frame::document::because;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::frame::watch as stream;
use crate::namespaces;

pub(crate) const LIST: RpcMethod = rebalance_control_service::LIST;
pub(super) const WATCH: RpcMethod = rebalance_control_service::WATCH;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh rebalance-plans list", &[&LIST, &WATCH]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans list
  omnirelay mesh rebalance-plans list --state proposed,approved -o name
  omnirelay mesh rebalance-plans list -n orders -o json | jq -r '.plans[0].planId'";

/// List plans, the newest first, or watch them
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansListArgs {
    /// Only plans of this namespace
    #[arg(short, long, value_name = "NAMESPACE", value_parser = id_of(namespaces::KIND),
          add = complete::ids(&namespaces::OBJECTS))]
    namespace: Option<String>,
    /// Only plans in this state; not with --watch
    #[arg(long, value_name = "STATE", value_delimiter = ',',
          value_parser = ["proposed", "approved", "running", "paused", "completed", "failed", "rejected", "cancelled", "superseded"])]
    state: Vec<String>,
    #[command(flatten)]
    at: AtArgs,
    #[command(flatten)]
    table: TableArgs,
    /// Go on with what becomes of them
    #[arg(short, long, help_heading = "Watch options")]
    watch: bool,
    #[command(flatten)]
    watching: WatchArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("plan", |plan, _| text(plan, "planId").to_owned()).keep(),
    Column::new("namespace", |plan, _| text(plan, "namespace").to_owned()).keep(),
    Column::new("state", |plan, _| text(plan, "state").to_owned()).keep(),
    Column::new("moves", |plan, _| field(plan, "summary.moves").to_string())
        .number(|plan| field(plan, "summary.moves").as_f64().unwrap_or(0.0)),
    Column::new(
        "progress",
        |plan, _| if field(plan, "startedAt").is_null() { String::new() } else { how_far(plan) },
    ),
    Column::new("author", |plan, _| text(plan, "author").to_owned()),
    Column::new("age", |plan, moment| time::ago(field(plan, "createdAt"), moment))
        .ranked(|plan| -(time::millis(field(plan, "createdAt")).unwrap_or(0) as f64)),
    Column::new("reason", |plan, _| text(plan, "reason").to_owned()),
    Column::new("because", |plan, _| text(plan, "stateReason").to_owned()).wide(),
    Column::new("map", |plan, _| text(plan, "mapVersion").to_owned()).wide(),
    Column::new("ticket", |plan, _| text(plan, "changeTicket").to_owned()).wide(),
];

pub(super) async fn run(
    args: &RebalancePlansListArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    args.watching.check(args.watch)?;
    args.at.check(args.watch)?;
    if args.watch {
        if !args.state.is_empty() {
            return Err(CliError::usage("--state narrows a list, not a watch: states are what changes"));
        }
        return watch(&[], args.namespace.as_slice(), &args.watching, &args.table, session).await;
    }
    let filters = json!({ "namespace": args.namespace, "state": args.state, "at": args.at.text() });
    let document = list::whole(session, &LIST, "plans", filters).await?;
    let list = ListSpec {
        field: "plans",
        columns: COLUMNS,
        name: |plan| format!("{KIND}/{}", text(plan, "planId")),
        none: "There are no such plans.".to_owned(),
        footer: |document, all| counted(document, all, "plan"),
    };
    args.at.tell(&document, session);
    list.show(document, &args.table, session)
}

/// Watches instead of listing.
pub(super) async fn watch(
    plans: &[String],
    namespaces: &[String],
    watching: &WatchArgs,
    table: &TableArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let feed = WatchFeed {
        object: "plan",
        id: |plan| text(plan, "planId").to_owned(),
        columns: COLUMNS,
        summary: |plan| {
            format!(
                "{} of {} {}, {}{}",
                text(plan, "planId"),
                text(plan, "namespace"),
                text(plan, "state"),
                how_far(plan),
                because(plan, "stateReason")
            )
        },
        named: plans,
        ..WatchFeed::of(&WATCH, &json!({ "planId": plans, "namespace": namespaces }), KIND)?
    };
    stream::run(session, feed, watching, table).await
}
