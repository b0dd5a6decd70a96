//! `mesh clusters list`, and what it has in common with `watch`.

use omnirelay_wire::rpc::cluster_control_service;

use super::KIND;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::frame::watch as stream;

pub(crate) const LIST: RpcMethod = cluster_control_service::LIST;
pub(super) const WATCH: RpcMethod = cluster_control_service::WATCH;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh clusters list", &[&LIST, &WATCH]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh clusters list
  omnirelay mesh clusters list --region eu-1 --state passive
  omnirelay mesh clusters list -o json | jq -r '.clusters[] | select(.trust == null and (.local | not)) | .clusterId'";

/// List the clusters of the trust domain, or watch them
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct ClustersListArgs {
    /// Only clusters of this region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Only clusters in this state
    #[arg(long, value_name = "STATE", value_parser = ["active", "passive", "draining", "maintenance"])]
    state: Option<String>,
    #[command(flatten)]
    table: TableArgs,
    /// Go on with changes as they happen
    #[arg(short, long, help_heading = "Watch options", conflicts_with_all = ["region", "state"])]
    watch: bool,
    #[command(flatten)]
    watching: WatchArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("cluster", |cluster, _| text(cluster, "clusterId").to_owned()).keep(),
    Column::new("state", |cluster, _| text(cluster, "state").to_owned()).keep(),
    Column::new("region", |cluster, _| text(cluster, "region").to_owned()),
    Column::new("priority", |cluster, _| plain(field(cluster, "priority")))
        .number(|cluster| field(cluster, "priority").as_f64().unwrap_or(0.0)),
    Column::new("trust", trust),
    Column::new("endpoints", |cluster, _| joined(cluster, "replicationEndpoints")),
    Column::new("owners", |cluster, _| joined(cluster, "owners")).seldom(),
    Column::new("ticket", |cluster, _| text(cluster, "changeTicket").to_owned()).wide(),
    Column::new("updated", |cluster, moment| time::ago(field(cluster, "updatedAt"), moment)).wide(),
];

/// Trust in a cluster, in short.
pub(super) fn trust(cluster: &Value, _: CellContext) -> String {
    match (flag(cluster, "local"), field(cluster, "trust").is_object()) {
        (true, _) => "own".to_owned(),
        (false, true) => format!("list {}", text(cluster, "trust.revocationsNumber")),
        (false, false) => "not heard".to_owned(),
    }
}

pub(super) async fn run(args: &ClustersListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.watching.check(args.watch)?;
    if args.watch {
        return watch(&[], &args.watching, &args.table, session).await;
    }
    let state = args.state.as_deref().unwrap_or("unspecified");
    let request = json!({ "region": args.region, "state": state });
    let document = list::whole(session, &LIST, "clusters", request).await?;
    let list = ListSpec {
        field: "clusters",
        columns: COLUMNS,
        name: |cluster| format!("{KIND}/{}", text(cluster, "clusterId")),
        none: "No cluster is so.".to_owned(),
        footer: |document, all| counted(document, all, "cluster"),
    };
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
        id: |cluster| text(cluster, "clusterId").to_owned(),
        columns: COLUMNS,
        summary: |cluster| format!("{} {}", text(cluster, "clusterId"), text(cluster, "state")),
        named: names,
        ..WatchFeed::of(&WATCH, &json!({}), KIND)?
    };
    stream::run(session, feed, watching, table).await
}
