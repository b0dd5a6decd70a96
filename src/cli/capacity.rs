//! `omnirelay mesh capacity`: how much is used of what there may be a limit of.

use omnirelay_wire::rpc::capacity_service;

use super::entry::{CommandEntry, entry};
use super::schema::documents::message;
use crate::frame::document::real;
use crate::frame::prelude::*;

const GET: RpcMethod = capacity_service::GET;
const LEAF: LeafCommand =
    LeafCommand::read("mesh capacity", &[&GET]).exiting("0 1 2 5 6 8 9 10 11").listing(&COLUMNS, &[]);
pub(crate) static ENTRY: CommandEntry = entry!(
    "capacity",
    CapacityArgs,
    asking,
    &[LEAF],
    &[message("capacity", "mesh capacity", "omnirelay.mesh.control.v1.GetCapacityResponse")]
);

/// The kind in `limit/NAME`.
const KIND: &str = "limit";

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh capacity
  omnirelay mesh capacity --exit-code
  omnirelay mesh capacity -o wide --sort-by percent:desc
  omnirelay mesh capacity -o json | jq -r '.limits[] | select(.level != \"clear\").name'";

/// Show how much is used of each limit
///
/// Those of the mesh are as the daemon that answers knows the registry; calls, commits, joins, watches and gossip are its own. Of a rate a
/// second the percentage is that of its highest second in the last 90. Peaks and what came are of the last hour, or since the daemon
/// started. Limits are settings of the daemons (limits.*); by default there is none.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct CapacityArgs {
    /// Exit with 10 when a limit is near (80 % of it) or reached
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("limit", |limit, _| text(limit, "name").to_owned()).keep(),
    Column::new("used", |limit, _| number(limit, "used").to_string())
        .keep()
        .number(|limit| real(limit, "used")),
    Column::new("max", |limit, _| or_dash(limit, "max")).keep().number(|limit| real(limit, "max")),
    Column::new("percent", |limit, _| match or_dash(limit, "percent").as_str() {
        "-" => "-".to_owned(),
        percent => format!("{percent} %"),
    })
    .keep()
    .number(|limit| real(limit, "percent")),
    Column::new("mode", |limit, _| text(limit, "mode").to_owned()),
    Column::new("level", |limit, _| text(limit, "level").to_owned()),
    Column::new("peak", |limit, _| number(limit, "peak").to_string()).number(|limit| real(limit, "peak")),
    Column::new("added", |limit, _| real(limit, "added").to_string()).number(|limit| real(limit, "added")),
    Column::new("refused", |limit, _| number(limit, "refused").to_string())
        .number(|limit| real(limit, "refused")),
    Column::new("unit", |limit, _| text(limit, "unit").to_owned()),
    Column::new("scope", |limit, _| text(limit, "scope").to_owned()).wide(),
    Column::new("setting", |limit, _| text(limit, "setting").to_owned()).wide(),
];

/// A number; `-` where there is none.
fn or_dash(limit: &Value, name: &str) -> String {
    if field(limit, name).is_null() { "-".to_owned() } else { number(limit, name).to_string() }
}

async fn run(args: &CapacityArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let document = session.call(&Call::of(&GET, &json!({}))?).await?;
    let is_clear = items(&document, "limits").iter().all(|limit| text(limit, "level") == "clear");
    let list = ListSpec {
        field: "limits",
        columns: COLUMNS,
        name: |limit| format!("{KIND}/{}", text(limit, "name")),
        none: "This daemon names no limits.".to_owned(),
        footer: |document, all| {
            let set = all.iter().filter(|limit| text(limit, "mode") != "off").count();
            let watched = time::short(std::time::Duration::from_millis(number(document, "watchedMs")));
            format!(
                "{} set, watched for {watched}, of {}",
                count(set as u64, "limit"),
                text(document, "localNodeId")
            )
        },
    };
    list.show(document, &args.table, session)?;
    Ok(if args.exit_code && !is_clear { Exit::Negative } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_a_dash_and_what_has_gone_is_negative() {
        let unset = json!({"name": "bytes", "used": "40", "added": "-3", "mode": "off"});
        let set = json!({"name": "peers", "used": "9", "max": "10", "percent": 90, "added": "9", "mode": "enforce"});
        let moment = CellContext { now_ms: None, absolute: false };
        let row = |limit: &Value| {
            let cells = ["used", "max", "percent", "added", "mode"].map(|name| {
                COLUMNS.iter().find(|column| column.name == name).map(|column| (column.cell)(limit, moment))
            });
            cells.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row(&unset), "40 - - -3 off");
        assert_eq!(row(&set), "9 10 90 % 9 enforce");
    }
}
