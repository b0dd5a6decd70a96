//! `cert list`.

use std::time::Duration;

use clap::ValueEnum;
use omnirelay_wire::rpc::certificate_service;

use super::{COLUMNS, KIND, holder};
use crate::frame::global::HumanDuration;
use crate::frame::list;
use crate::frame::prelude::*;

pub(super) const LIST: RpcMethod = certificate_service::LIST;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("cert list", &[&LIST]).exiting("0 1 2 3 5 6 8 9 10 11").listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay cert list
  omnirelay cert list --kind operator --all
  omnirelay cert list --expiring 4h
  omnirelay cert list -o json | jq -r '.certificates[] | [.id, .notAfter] | @tsv'";

/// List certificates: the newest of each holder, or all
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct CertListArgs {
    /// Only of these (repeatable)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<HolderKind>,
    /// Only of the holder with this name
    #[arg(long)]
    name: Option<String>,
    /// Those too that have ended, or were superseded or revoked
    #[arg(short, long)]
    all: bool,
    /// Only those that end within this time, such as 4h
    #[arg(long, value_name = "DURATION")]
    expiring: Option<HumanDuration>,
    /// Exit with 10 when there is none
    #[arg(long)]
    fail_empty: bool,
    #[command(flatten)]
    table: TableArgs,
}

/// Leaves those that end within a time of the moment that an answer is of, by the daemon's clock.
fn keep_expiring(document: &mut Value, within: Duration) {
    let now = time::moment(document, false).now_ms.unwrap_or(0);
    let until = now.saturating_add(i64::try_from(within.as_millis()).unwrap_or(i64::MAX));
    if let Some(found) = document.get_mut("certificates").and_then(Value::as_array_mut) {
        found.retain(|one| time::millis(field(one, "notAfter")).is_some_and(|ends| ends <= until));
    }
}

/// Who a certificate may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HolderKind {
    Node,
    Operator,
    Service,
}

pub(super) async fn run(args: &CertListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let kinds: Vec<String> = args
        .kind
        .iter()
        .filter_map(|kind| kind.to_possible_value())
        .map(|kind| kind.get_name().to_owned())
        .collect();
    let filters = json!({"kinds": kinds, "name": args.name, "all": args.all});
    let mut document = list::whole(session, &LIST, "certificates", filters).await?;
    if let Some(within) = args.expiring {
        keep_expiring(&mut document, within.0);
    }
    let list = ListSpec {
        field: "certificates",
        columns: COLUMNS,
        name: |one| format!("{KIND}/{}", holder(one)),
        none: "There are no certificates like that.".to_owned(),
        footer: |document, all| counted(document, all, "certificate"),
    };
    args.table.order(COLUMNS, &mut document, "certificates")?;
    list.print(document, &args.table, args.fail_empty, session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_in_time_is_judged_by_the_clock_of_the_answer() {
        let ends = |at: &str| json!({ "serial": at, "notAfter": at });
        let mut document = json!({
            "generatedAt": "2026-11-20T06:00:00Z",
            "certificates": [
                ends("2026-11-20T05:00:00Z"), ends("2026-11-20T10:00:00Z"), ends("2026-11-20T10:00:01Z"), json!({}),
            ],
        });
        keep_expiring(&mut document, Duration::from_secs(4 * 3600));
        let left: Vec<&str> =
            items(&document, "certificates").iter().map(|one| text(one, "serial")).collect();
        assert_eq!(left, ["2026-11-20T05:00:00Z", "2026-11-20T10:00:00Z"]);
    }
}
