//! `mesh clusters check`.

use omnirelay_wire::rpc::cluster_control_service;

use crate::frame::list;
use crate::frame::prelude::*;

const CHECK: RpcMethod = cluster_control_service::CHECK;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh clusters check", &[&CHECK]).listing(&COLUMNS, &[]).exiting("0 1 2 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh clusters check
  omnirelay mesh clusters check -o json | jq '.findings[] | select(.state == \"wrong\")'";

/// Check whether a cluster could go on without the other one
///
/// Exits with 10 when something is wrong. Each finding says what it rests on, and when that was so. Ask in each cluster: a cluster knows
/// best what it follows itself.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ClustersCheckArgs {
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("subject", |finding, _| text(finding, "subject").to_owned()).keep(),
    Column::new("check", |finding, _| text(finding, "check").to_owned()).keep(),
    Column::new("state", |finding, _| text(finding, "state").to_owned()).keep(),
    Column::new("evidence", |finding, _| text(finding, "evidence").to_owned()),
    Column::new("as of", |finding, moment| time::back(time::ago(field(finding, "asOf"), moment), moment)),
    Column::new("next", |finding, _| text(finding, "command").to_owned()),
];

pub(super) async fn run(args: &ClustersCheckArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = list::whole(session, &CHECK, "findings", json!({})).await?;
    let is_ready = flag(&document, "ready");
    let list = ListSpec {
        field: "findings",
        columns: COLUMNS,
        name: |finding| text(finding, "subject").to_owned(),
        none: "Nothing was looked at.".to_owned(),
        footer: |document, all| counted(document, all, "finding"),
    };
    list.show(document, &args.table, session)?;
    Ok(if is_ready { Exit::Ok } else { Exit::Negative })
}
