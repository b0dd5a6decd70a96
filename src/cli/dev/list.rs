//! `dev list`.

use omnirelay_wire::rpc::dev_service;

use crate::frame::prelude::*;
use crate::frame::table::TableLayout;

pub(super) const LIST: RpcMethod = dev_service::LIST;
pub(super) const LEAF: LeafCommand = LeafCommand::read("dev list", &[&LIST]);

const EXAMPLES: &str = "\
Examples:
  omnirelay dev list
  omnirelay dev list -o json | jq -r '.nodes[] | select(.state == \"running\") | .control'";

/// List the nodes of `omnirelay up` and whether they run
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct DevListArgs {}

static COLUMNS: &[Column] = &[
    Column::new("node", |node, _| text(node, "nodeId").to_owned()).keep(),
    Column::new("state", |node, _| text(node, "state").to_owned()).keep(),
    Column::new("control", |node, _| text(node, "control").to_owned()),
];

pub(super) async fn run(_: &DevListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&LIST, &json!({}))?).await?;
    let nodes = items(&document, "nodes").to_vec();
    let names = nodes.iter().map(|node| format!("node/{}", text(node, "nodeId"))).collect();
    let table = TextTable::of(
        COLUMNS,
        &nodes,
        CellContext { now_ms: None, absolute: false },
        &TableLayout::default(),
    )?;
    session.show(&CommandOutput { document, items: Some(nodes), names, text: TextForm::Table(table) })?;
    Ok(Exit::Ok)
}
