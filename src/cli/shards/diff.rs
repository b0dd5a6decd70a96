//! `mesh shards diff`.

use omnirelay_wire::rpc::shard_control_service;

use super::KIND;
use super::columns::{difference, id};
use super::which::NamespaceArg;
use crate::frame::document::because;
use crate::frame::prelude::*;
use crate::namespaces;

const DIFF: RpcMethod = shard_control_service::DIFF;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh shards diff", &[&DIFF, &namespaces::LIST]).exiting("0 1 2 3 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards diff
  omnirelay mesh shards diff 3 8 -n orders
  omnirelay mesh shards diff 3 -n orders -o json | jq -r '.items[].current.shardId' | sort -u
  omnirelay mesh shards diff 3 8 --exit-code";

/// Show what has changed between two versions of a map
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsDiffArgs {
    /// The older version [default: the last but one]
    #[arg(value_name = "FROM", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// The newer version [default: the newest]
    #[arg(value_name = "TO", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
    #[command(flatten)]
    which: NamespaceArg,
    /// Exit with 10 when something has changed
    #[arg(long)]
    exit_code: bool,
}

pub(super) async fn run(args: &ShardsDiffArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let namespace = args.which.one(session).await?;
    let version = |given: Option<i64>| given.unwrap_or(0).to_string();
    let request = json!({
        "namespace": namespace, "fromMapVersion": version(args.from), "toMapVersion": version(args.to),
    });
    // That a version is 0 says that versions are meant.
    let document = session.call(&Call::exactly(&DIFF, &request)?).await?;
    session.warn_if_stale(&document);
    let changes = items(&document, "items").to_vec();
    let lines: String = changes.iter().map(|change| format!("{}\n", printable(&line(change)))).collect();
    let names = changes.iter().map(|change| format!("{KIND}/{}", id(field(change, "current")))).collect();
    let (any, more) = (!changes.is_empty(), flag(&document, "more"));
    if any || !session.format().is_text() {
        session.show(&CommandOutput {
            document,
            items: Some(changes.clone()),
            names,
            text: TextForm::Lines(lines),
        })?;
    }
    session.notes().say(&match (any, more) {
        (false, _) => format!("Nothing has changed in the map of {namespace}."),
        (true, false) => count(changes.len() as u64, "change"),
        (true, true) => format!("{}, and more", count(changes.len() as u64, "change")),
    });
    Ok(if any && args.exit_code { Exit::Negative } else { Exit::Ok })
}

fn line(change: &Value) -> String {
    let (version, actor) = (text(change, "current.mapVersion"), text(change, "history.actor"));
    let reason = because(change, "history.reason");
    format!("[{version}] {}  by {actor}{reason}", difference(change))
}
