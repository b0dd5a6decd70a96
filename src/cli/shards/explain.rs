//! `mesh shards explain`.

use omnirelay_wire::rpc::shard_control_service;

use super::KIND;
use super::columns::difference;
use super::which::NamespaceArg;
use crate::frame::output::OutputFormat;
use crate::frame::prelude::*;
use crate::namespaces;

const EXPLAIN: RpcMethod = shard_control_service::EXPLAIN;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh shards explain", &[&EXPLAIN, &namespaces::LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards explain 012
  omnirelay mesh shards explain orders/012 -o json | jq -r '.candidates[] | select(.rank == 1) | .nodeId'";

/// Explain why a node owns a shard, and which others could
#[derive(Args, Debug)]
#[command(visible_alias = "why", before_long_help = EXAMPLES)]
pub(super) struct ShardsExplainArgs {
    /// Its id, or NAMESPACE/SHARD
    #[arg(value_name = "SHARD", value_parser = id_of(super::KIND))]
    shard: String,
    #[command(flatten)]
    which: NamespaceArg,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("rank", |candidate, _| {
        Some(plain(field(candidate, "rank"))).filter(|rank| rank != "0").unwrap_or_default()
    })
    // Those who may not own it come last.
    .number(|candidate| field(candidate, "rank").as_f64().filter(|rank| *rank > 0.0).unwrap_or(f64::MAX))
    .keep(),
    Column::new("node", |candidate, _| text(candidate, "nodeId").to_owned()).keep(),
    Column::new("owns", |candidate, _| if flag(candidate, "owns") { "yes" } else { "" }.to_owned()),
    Column::new("shards", |candidate, _| plain(field(candidate, "shards")))
        .number(|candidate| field(candidate, "shards").as_f64().unwrap_or(0.0)),
    Column::new("most", |candidate, _| plain(field(candidate, "most")))
        .number(|candidate| field(candidate, "most").as_f64().unwrap_or(0.0)),
    Column::new("weight", |candidate, _| plain(field(candidate, "weight"))),
    Column::new("distance", |candidate, _| plain(field(candidate, "distance"))).wide(),
    Column::new("cost", |candidate, _| plain(field(candidate, "cost"))).wide(),
    Column::new("excluded-by", |candidate, _| joined(candidate, "excludedBy")).titled("EXCLUDED-BY"),
];

pub(super) async fn run(args: &ShardsExplainArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let (namespace, shard) = args.which.shard(session, &args.shard).await?;
    let request = json!({ "namespace": namespace, "shardId": shard });
    let mut document = session.call(&Call::of(&EXPLAIN, &request)?).await?;
    args.table.order(COLUMNS, &mut document, "candidates")?;
    let moment = time::moment(&document, args.table.absolute);
    let table = TextTable::of(COLUMNS, items(&document, "candidates"), moment, &args.table.layout())?;
    let because = items(&document, "because").iter().filter_map(Value::as_str);
    let because: String = because.map(|sentence| format!("{}\n", printable(sentence))).collect();
    let rows = table.render(session.format() == OutputFormat::Wide, session.out.screen()).lines;
    let changes: String = items(&document, "changes")
        .iter()
        .map(|change| {
            let when = time::back(time::ago(field(change, "time"), moment), moment);
            format!("  {when}  {}\n", printable(&difference(change)))
        })
        .collect();
    let changes = if changes.is_empty() { changes } else { format!("\nChanges\n{changes}") };
    session.warn_if_stale(&document);
    session.show(&CommandOutput::lines(
        document,
        format!("{KIND}/{namespace}/{shard}"),
        format!("{because}\n{rows}{changes}"),
    ))?;
    Ok(Exit::Ok)
}
