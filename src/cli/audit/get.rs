//! `audit get`.

use omnirelay_wire::rpc::audit_service;

use super::{KIND, action, changes, covered};
use crate::frame::prelude::*;

pub(super) const GET: RpcMethod = audit_service::GET;
pub(super) const LEAF: LeafCommand = LeafCommand::read("audit get", &[&GET]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay audit get 019a0f4c1b2a3-5f0c9a7b3e1d2486
  omnirelay audit list --actor local -o name | omnirelay audit get - -o yaml";

/// Show everything of one or more audit records
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct AuditGetArgs {
    /// Ids of records or audit/ID; - reads them from standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &AuditGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for id in ids {
        let result = session.call(&Call::of(&GET, &json!({ "recordId": id }))?).await;
        batch.push(id, result);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

fn describe(document: &Value, absolute: bool) -> String {
    let record = field(document, "record");
    let moment = time::moment(document, absolute);
    let ago = |path: &str| time::back(time::ago(field(record, path), moment), moment);
    let said = |path: &str| text(record, path).to_owned();
    let mut rows = vec![
        ("record", said("recordId")),
        ("time", ago("time")),
        ("actor", said("actor")),
        ("action", action(record)),
        ("object", said("object")),
        ("changes", changes(record)),
        ("reason", said("reason")),
        ("node", said("nodeId")),
        ("request", said("requestId")),
        ("revision", said("revision")),
        ("sealed", covered(record)),
    ];
    if flag(record, "refused") {
        rows.extend([("first", ago("firstAt")), ("last", ago("lastAt"))]);
    }
    listing(&rows)
}
