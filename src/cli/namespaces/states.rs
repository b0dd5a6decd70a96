//! `mesh namespaces states`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::KIND;
use super::list::COLUMNS;
use crate::frame::list;
use crate::frame::prelude::*;

const STATES: RpcMethod = rebalance_control_service::STATES;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh namespaces states", &[&STATES]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh namespaces states
  omnirelay mesh namespaces states -o json | jq -r '.namespaces[] | [.namespace, .state] | @tsv'";

/// Show how far the shards of each namespace are from where they belong
///
/// As dashboards read it. What each namespace is made of is told by mesh namespaces list, and what becomes of it by watch.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct NamespacesStatesArgs {
    #[command(flatten)]
    table: TableArgs,
}

pub(super) async fn run(args: &NamespacesStatesArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let document = list::whole(session, &STATES, "namespaces", json!({})).await?;
    let list = ListSpec {
        field: "namespaces",
        columns: COLUMNS,
        name: |namespace| format!("{KIND}/{}", text(namespace, "namespace")),
        none: "There are no namespaces: omnirelay mesh namespaces create NAME --shards 128".to_owned(),
        footer: |document, all| counted(document, all, "namespace"),
    };
    list.show(document, &args.table, session)
}
