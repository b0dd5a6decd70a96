//! `mesh shards get`.

use omnirelay_wire::rpc::shard_control_service;

use super::KIND;
use super::columns::status;
use super::which::NamespaceArg;
use crate::frame::prelude::*;
use crate::namespaces;

pub(super) const GET: RpcMethod = shard_control_service::GET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh shards get", &[&GET, &namespaces::LIST]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards get 012
  omnirelay mesh shards get orders/012 orders/013 -o yaml
  omnirelay mesh shards get 012 -n orders -o json | jq -r .shard.fenceToken";

/// Show everything known of one or more shards
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct ShardsGetArgs {
    /// Ids, or NAMESPACE/SHARD
    #[arg(required = true, value_name = "SHARD", value_parser = id_of(super::KIND))]
    shards: Vec<String>,
    #[command(flatten)]
    which: NamespaceArg,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &ShardsGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for given in &args.shards {
        let (namespace, shard) = args.which.shard(session, given).await?;
        let result = one(session, &namespace, &shard).await;
        batch.push(format!("{namespace}/{shard}"), result);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

async fn one(session: &CommandSession, namespace: &str, shard: &str) -> Result<Value, CliError> {
    let request = json!({ "namespace": namespace, "shardId": shard });
    let document = session.call(&Call::of(&GET, &request)?).await?;
    session.warn_if_stale(&document);
    Ok(document)
}

/// Everything of a shard, one line per field.
fn describe(document: &Value, absolute: bool) -> String {
    let shard = field(document, "shard");
    let moment = time::moment(document, absolute);
    let ago = |of: &Value, path: &str| time::back(time::ago(field(of, path), moment), moment);
    let said = |path: &str| text(shard, path).to_owned();
    let changed = match text(document, "history.actor") {
        "" => String::new(),
        actor => {
            format!("{} by {actor}: {}", text(document, "history.cause"), text(document, "history.reason"))
        }
    };
    let map = field(document, "map");
    listing(&[
        ("shard", format!("{}/{}", text(shard, "namespace"), text(shard, "shardId"))),
        ("owner", said("ownerNodeId")),
        ("leader", said("leaderId")),
        ("status", status(shard)),
        ("target", said("targetNodeId")),
        ("owned", ago(shard, "ownedSince")),
        ("previous", text(document, "history.previousOwnerNodeId").to_owned()),
        ("fence", said("fenceToken")),
        ("strategy", said("strategyId")),
        (
            "capacity",
            Some(plain(field(shard, "capacityHint"))).filter(|hint| hint != "0.0").unwrap_or_default(),
        ),
        ("locality", said("localityHint")),
        ("changed", changed.trim_end_matches(": ").to_owned()),
        ("ticket", said("changeTicket")),
        ("plan", said("planId")),
        ("version", said("version")),
        ("writer", said("lastWriterId")),
        ("checksum", said("checksum")),
        ("map", format!("{} (checksum {})", text(map, "version"), text(map, "checksum"))),
        ("updated", ago(shard, "updatedAt")),
    ])
}
