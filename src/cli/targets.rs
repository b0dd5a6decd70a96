//! `omnirelay mesh targets`: what Prometheus is to scrape.

use omnirelay_wire::rpc::observability_service;

use super::entry::{CommandEntry, entry};
use super::schema::documents::message;
use crate::frame::prelude::*;

const LIST: RpcMethod = observability_service::LIST_SCRAPE_TARGETS;
const LEAF: LeafCommand =
    LeafCommand::read("mesh targets", &[&LIST]).exiting("0 1 2 5 6 8 9 11").listing(&COLUMNS, &[]);
pub(crate) static ENTRY: CommandEntry = entry!(
    "targets",
    TargetsArgs,
    asking,
    &[LEAF],
    &[message("targets", "mesh targets", "omnirelay.mesh.control.v1.ListScrapeTargetsResponse")]
);

/// The kind in `target/NODE`.
const KIND: &str = "target";

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh targets
  omnirelay mesh targets -o json | jq '.targets' > targets.json    # for file_sd_configs";

/// List what Prometheus is to scrape
///
/// The control port of each node of the mesh, also of those that do not answer, but for those that stopped cleanly. Prometheus reads the
/// same by itself, below /control/prometheus/targets of any daemon (http_sd_configs).
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct TargetsArgs {
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("node", |target, _| label(target, "node").to_owned()).keep(),
    Column::new("address", |target, _| address(target).to_owned()).keep(),
    Column::new("mesh", |target, _| label(target, "mesh").to_owned()),
    Column::new("role", |target, _| label(target, "__meta_omnirelay_role").to_owned()),
    Column::new("version", |target, _| label(target, "__meta_omnirelay_version").to_owned()).wide(),
    Column::new("region", |target, _| label(target, "__meta_omnirelay_region").to_owned()).wide(),
    Column::new("zone", |target, _| label(target, "__meta_omnirelay_zone").to_owned()).wide(),
];

/// A label; empty where the node does not say it.
fn label<'a>(target: &'a Value, name: &str) -> &'a str {
    field(target, "labels").get(name).and_then(Value::as_str).unwrap_or_default()
}

fn address(target: &Value) -> &str {
    field(target, "targets").get(0).and_then(Value::as_str).unwrap_or_default()
}

async fn run(args: &TargetsArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let document = session.call(&Call::of(&LIST, &json!({}))?).await?;
    let list = ListSpec {
        field: "targets",
        columns: COLUMNS,
        name: |target| format!("{KIND}/{}", label(target, "node")),
        none: "No node says where its control port is.".to_owned(),
        footer: |document, all| {
            format!("{} by {}", count(all.len() as u64, "target"), text(document, "localNodeId"))
        },
    };
    list.show(document, &args.table, session)?;
    Ok(Exit::Ok)
}
