//! `audit list`.

use omnirelay_wire::rpc::audit_service;

use super::{COLUMNS, KIND, RecordArgs, UntilArgs};
use crate::frame::list;
use crate::frame::prelude::*;

pub(super) const LIST: RpcMethod = audit_service::LIST;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("audit list", &[&LIST]).exiting("0 1 2 5 6 8 9 10 11").listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay audit list --limit 20
  omnirelay audit list --since 1h --action 'peers.*'
  omnirelay audit list --since 2026-11-20T06:00:00Z --until 2026-11-20T07:00:00Z --node node-2
  omnirelay audit list --object 'leader/*' --actor 'operator:*'
  omnirelay audit list --object peer/node-2 -o json | jq -r '.records[].reason'";

/// List audit records, newest first
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct AuditListArgs {
    #[command(flatten)]
    records: RecordArgs,
    #[command(flatten)]
    until: UntilArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
}

pub(super) async fn run(args: &AuditListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut records = args.records.request();
    records["until"] = json!(args.until.until);
    let list = ListSpec {
        field: "records",
        columns: COLUMNS,
        name: |record| format!("{KIND}/{}", text(record, "recordId")),
        none: "No audit records match.".to_owned(),
        footer: |_, _| String::new(),
    };
    let sorts_here = args.table.sort_by.is_some();
    let request = |page: &ListPage| request(&records, page);
    let document = list.pages(session, (&args.page, &args.table), sorts_here, request).await?;
    list.print(document, &args.table, args.page.fail_empty, session)
}

/// The newest records that are asked for, as one document.
pub(super) async fn fetch(
    session: &CommandSession,
    records: Value,
    pages: &PageArgs,
) -> Result<Value, CliError> {
    list::fetch(session, "records", pages, false, |page| request(&records, page)).await
}

/// The request for a page of records.
fn request(records: &Value, page: &ListPage) -> Result<Call, CliError> {
    let mut request = records.clone();
    request["pageSize"] = page.size.into();
    request["pageToken"] = page.token.clone().into();
    Call::of(&LIST, &request)
}
