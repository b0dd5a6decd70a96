//! `mesh namespaces list`, and what it has in common with `watch`.

use omnirelay_wire::rpc::{namespace_control_service, rebalance_control_service};

use super::KIND;
use crate::frame::document::because;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::frame::watch as stream;

pub(crate) const LIST: RpcMethod = namespace_control_service::LIST;
pub(super) const WATCH: RpcMethod = rebalance_control_service::WATCH_STATES;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh namespaces list", &[&LIST, &WATCH]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh namespaces list
  omnirelay mesh namespaces list --watch
  omnirelay mesh namespaces list -o json | jq -r '.namespaces[] | select(.state != \"steady\") | .namespace'";

/// List namespaces and what is being done with their shards, or watch them
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct NamespacesListArgs {
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

pub(super) static COLUMNS: &[Column] = &[
    Column::new("namespace", |namespace, _| text(namespace, "namespace").to_owned()).keep(),
    Column::new("shards", |namespace, _| plain(field(namespace, "shards")))
        .number(|namespace| field(namespace, "shards").as_f64().unwrap_or(0.0)),
    Column::new("state", |namespace, _| state(namespace)).keep(),
    Column::new("pending", |namespace, _| text(namespace, "pending.proposedBy").to_owned()).seldom(),
    Column::new("strategy", |namespace, _| text(namespace, "spec.strategyId").to_owned()),
    Column::new("map", |namespace, _| text(namespace, "mapVersion").to_owned())
        .number(|namespace| text(namespace, "mapVersion").parse().unwrap_or(0.0)),
    Column::new("imbalance", |namespace, _| {
        field(namespace, "imbalance").as_f64().map(|ratio| format!("{ratio:.3}")).unwrap_or_default()
    })
    .number(|namespace| field(namespace, "imbalance").as_f64().unwrap_or(0.0)),
    Column::new("since", |namespace, moment| time::ago(field(namespace, "stateSince"), moment)),
    Column::new("reason", |namespace, _| text(namespace, "stateReason").to_owned()),
    Column::new("checksum", |namespace, _| text(namespace, "checksum").to_owned()).wide(),
    Column::new("plan", |namespace, _| text(namespace, "planId").to_owned()).wide(),
];

/// State of a namespace: what is being done with it.
pub(super) fn state(namespace: &Value) -> String {
    match (flag(namespace, "ready"), flag(namespace, "deleting")) {
        (_, true) => "removing".to_owned(),
        (false, _) => {
            format!("making ({} of {})", plain(field(namespace, "made")), plain(field(namespace, "shards")))
        }
        (true, false) => text(namespace, "state").to_owned(),
    }
}

pub(super) async fn run(args: &NamespacesListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.watching.check(args.watch)?;
    args.at.check(args.watch)?;
    if args.watch {
        return watch(&[], &args.watching, &args.table, session).await;
    }
    let document = list::whole(session, &LIST, "namespaces", json!({ "at": args.at.text() })).await?;
    let list = ListSpec {
        field: "namespaces",
        columns: COLUMNS,
        name: |namespace| format!("{KIND}/{}", text(namespace, "namespace")),
        none: "There are no namespaces: omnirelay mesh namespaces create NAME --shards 128".to_owned(),
        footer: |document, all| counted(document, all, "namespace"),
    };
    args.at.tell(&document, session);
    list.show(document, &args.table, session)
}

/// Watches instead of listing.
pub(super) async fn watch(
    names: &[String],
    watching: &WatchArgs,
    table: &TableArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let feed = WatchFeed {
        id: |namespace| text(namespace, "namespace").to_owned(),
        columns: COLUMNS,
        summary: |namespace| {
            let reason = because(namespace, "stateReason");
            format!("{} {}{reason}", text(namespace, "namespace"), state(namespace))
        },
        named: names,
        ..WatchFeed::of(&WATCH, &json!({ "namespace": names }), KIND)?
    };
    stream::run(session, feed, watching, table).await
}
