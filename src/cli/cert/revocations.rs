//! `cert revocations`.

use omnirelay_wire::rpc::certificate_service;

use crate::frame::prelude::*;

const LIST: RpcMethod = certificate_service::LIST_REVOCATIONS;
pub(super) const LEAF: LeafCommand = LeafCommand::read("cert revocations", &[&LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay cert revocations
  omnirelay cert revocations -o json | jq -r '.revocations[].id | select(. != \"\")'";

/// List what is revoked
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertRevocationsArgs {
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("what", |revocation, _| what(revocation)).keep(),
    Column::new("since", |revocation, moment| time::ago(field(revocation, "since"), moment))
        .ranked(|revocation| -(time::millis(field(revocation, "since")).unwrap_or(0) as f64)),
    Column::new("reason", |revocation, _| text(revocation, "reason").to_owned()),
];

fn what(revocation: &Value) -> String {
    let all = [("holder", "id"), ("node", "node"), ("key", "keyFingerprint"), ("serial", "serial")];
    let given = all.into_iter().find(|(_, path)| !text(revocation, path).is_empty());
    given.map(|(kind, path)| format!("{kind}/{}", text(revocation, path))).unwrap_or_default()
}

pub(super) async fn run(args: &CertRevocationsArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&LIST, &json!({}))?).await?;
    let list = ListSpec {
        field: "revocations",
        columns: COLUMNS,
        name: what,
        none: "Nothing is revoked.".to_owned(),
        footer: |document, _| {
            let [known, enforced] = ["number", "enforcedNumber"].map(|field| number(document, field));
            format!("list {known}, {} judges by {enforced}", text(document, "localNodeId"))
        },
    };
    list.show(document, &args.table, session)
}
