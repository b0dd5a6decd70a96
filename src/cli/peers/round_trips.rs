//! `mesh peers round-trips`.

use omnirelay_wire::rpc::check_service;

use crate::complete;
use crate::frame::document::real;
use crate::frame::prelude::*;

const GET: RpcMethod = check_service::ROUND_TRIPS;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh peers round-trips", &[&GET]).exiting("0 1 2 3 5 6 8 9 11").listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers round-trips
  omnirelay mesh peers round-trips --sort-by rtt:desc
  omnirelay mesh peers round-trips node-2
  omnirelay mesh peers round-trips -o json | jq -r '.rows[] | .from as $from | .roundTrips[] | \"\\($from) \\(.to) \\(.rttMs)\"'";

/// Show the round trips between nodes, as each has measured them
///
/// Each node that lives is asked for what it has measured by gossip. Where more than 50 live, zones stand for them: one node of each zone is
/// asked, and of each zone the middle round trip is shown.
#[derive(Args, Debug)]
#[command(visible_alias = "rtt", before_long_help = EXAMPLES)]
pub(super) struct PeersRoundTripsArgs {
    /// Only what this node has measured
    #[arg(value_name = "NODE", add = complete::ids(&super::OBJECTS))]
    node: Option<String>,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("from", |row, _| text(row, "from").to_owned()).keep(),
    Column::new("to", |row, _| text(row, "to").to_owned()).keep(),
    Column::new("rtt", |row, _| match text(row, "trouble") {
        "" => format!("{:.1}ms", real(row, "rttMs")),
        trouble => trouble.to_owned(),
    })
    .keep()
    .number(|row| real(row, "rttMs")),
];

pub(super) async fn run(args: &PeersRoundTripsArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let node = args.node.as_deref().unwrap_or_default();
    let node = id_in("peer", node);
    let mut document = session.call(&Call::of(&GET, &json!({ "nodeId": node }))?).await?;
    let pairs: Vec<Value> = items(&document, "rows").iter().flat_map(pairs_of).collect();
    let printed = session.format().is_text();
    if printed {
        document["pairs"] = json!(pairs);
    }
    let list = ListSpec {
        field: if printed { "pairs" } else { "rows" },
        columns: COLUMNS,
        name: |row| format!("round-trip/{}/{}", text(row, "from"), text(row, "to")),
        none: "No round trip was measured yet: gossip measures them, or it is off.".to_owned(),
        footer: |document, all| {
            let of = if flag(document, "byZone") { " of zones" } else { "" };
            format!("{}{of}", count(all.len() as u64, "pair"))
        },
    };
    list.show(document, &args.table, session)
}

/// Pairs of a row; of a node that could not be asked one that says why.
fn pairs_of(row: &Value) -> Vec<Value> {
    let (from, trouble) = (text(row, "from"), text(row, "trouble"));
    if !trouble.is_empty() {
        return vec![json!({"from": from, "to": "-", "trouble": trouble})];
    }
    let trips = items(row, "roundTrips").iter();
    trips.map(|trip| json!({"from": from, "to": trip["to"], "rttMs": trip["rttMs"]})).collect()
}
