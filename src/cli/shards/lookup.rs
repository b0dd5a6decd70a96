//! `mesh shards lookup`.

use omnirelay_core::shard_order::shard_of;
use omnirelay_wire::rpc::shard_control_service;

use super::KIND;
use super::columns::id;
use super::which::NamespaceArg;
use crate::frame::document::or_nobody;
use crate::frame::prelude::*;
use crate::namespaces;

const LOOKUP: RpcMethod = shard_control_service::LOOKUP;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh shards lookup", &[&LOOKUP, &namespaces::LIST]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards lookup customer-4711
  omnirelay mesh shards lookup customer-4711 customer-4712 -n orders
  omnirelay mesh shards lookup customer-4711 -o json | jq -r .shard.ownerNodeId";

/// Say which shard a key is of, and who owns it
///
/// The number of the shard is computed here as well, as the reference of shard placement says; if the daemon comes to another
/// one, that is an error.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsLookupArgs {
    /// Keys, as text
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    which: NamespaceArg,
}

pub(super) async fn run(args: &ShardsLookupArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let namespace = args.which.one(session).await?;
    let mut batch = BatchOutcomes::new("key", "response", "could not be looked up");
    for key in &args.keys {
        let result = one(session, &namespace, key).await;
        batch.push(key.clone(), result);
    }
    batch.finish(session, |key, document| {
        let shard = field(document, "shard");
        let owner = or_nobody(text(shard, "ownerNodeId"));
        format!("{key}  {KIND}/{}  {owner}  {}\n", id(shard), text(shard, "status"))
    })
}

async fn one(session: &CommandSession, namespace: &str, key: &str) -> Result<Value, CliError> {
    let request = json!({ "namespace": namespace, "key": key });
    let document = session.call(&Call::of(&LOOKUP, &request)?).await?;
    session.warn_if_stale(&document);
    let number = |path: &str| field(&document, path).as_u64().unwrap_or(0);
    let all = u32::try_from(number("map.shards")).unwrap_or(u32::MAX);
    let mine = u64::from(shard_of(key.as_bytes(), all));
    if mine == number("number") {
        return Ok(document);
    }
    let message = format!(
        "the daemon says that `{key}` is of shard number {}, and it is of {mine} of {all}",
        number("number")
    );
    Err(CliError::new(reasons::INTERNAL, message).hint("report it as a bug, with the versions of both"))
}
