//! `mesh config history`.

use omnirelay_wire::rpc::config_service;

use crate::frame::prelude::*;

const LIST: RpcMethod = config_service::LIST_TRANSPORT_POLICY_VERSIONS;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh config history", &[&LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh config history
  omnirelay mesh config history -o json | jq '.versions[1].policy'   # what held before";

/// List the last versions of the transport policy, the newest first
///
/// Sixteen are kept. `mesh config rollback` brings one back.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct MeshConfigHistoryArgs {
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("version", |version, _| text(version, "version").to_owned())
        .number(|version| -(number(version, "version") as f64))
        .keep(),
    Column::new("set-by", |version, _| text(version, "setBy").to_owned()).keep(),
    Column::new("since", |version, moment| time::ago(field(version, "setAt"), moment)),
    Column::new("reason", |version, _| reason(version)),
];

pub(super) async fn run(
    args: &MeshConfigHistoryArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&LIST, &json!({}))?).await?;
    let list = ListSpec {
        field: "versions",
        columns: COLUMNS,
        name: |version| format!("{}/{}", super::KIND, text(version, "version")),
        none:
            "Nobody has set a transport policy: what is built in holds, or what daemons are configured with."
                .to_owned(),
        footer: |document, all| counted(document, all, "version"),
    };
    list.show(document, &args.table, session)
}

/// Why, and which version it brought back.
fn reason(version: &serde_json::Value) -> String {
    match (number(version, "rolledBackTo"), text(version, "reason")) {
        (0, reason) => reason.to_owned(),
        (to, "") => format!("back to {to}"),
        (to, reason) => format!("back to {to}: {reason}"),
    }
}
