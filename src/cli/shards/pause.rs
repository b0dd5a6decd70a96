//! `mesh shards pause`, and what it has in common with `disable` and `resume`.

use omnirelay_wire::rpc::shard_control_service;

use super::KIND;
use super::which::NamespaceArg;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;
use crate::namespaces;

const PAUSE: RpcMethod = shard_control_service::PAUSE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh shards pause", &[&PAUSE, &namespaces::LIST]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards pause orders/012 --reason \"poison message, INC-4711\" --ticket INC-4711
  omnirelay mesh shards pause 012 --dry-run";

/// Have callers send nothing to a shard; its owner stays
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsPauseArgs {
    #[command(flatten)]
    pub shard: ShardTicketArgs,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Which shard, and for which ticket.
#[derive(Args, Debug)]
pub(super) struct ShardTicketArgs {
    /// Its id, or NAMESPACE/SHARD
    #[arg(value_name = "SHARD", value_parser = id_of(super::KIND))]
    shard: String,
    #[command(flatten)]
    which: NamespaceArg,
    /// The ticket of the change, for the history
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
}

pub(super) async fn run(args: &ShardsPauseArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let words = ("paused", "it is paused already");
    change(&PAUSE, &args.shard, &args.write, words, json!({}), session).await
}

/// Changes one shard.
pub(super) async fn change(
    rpc: &RpcMethod,
    of: &ShardTicketArgs,
    write: &WriteArgs,
    (done, already): (&'static str, &'static str),
    more: Value,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let (namespace, shard) = of.which.shard(session, &of.shard).await?;
    let mut fields = json!({ "namespace": namespace, "shardId": shard, "changeTicket": of.ticket });
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
    }
    let change = ObjectChange {
        rpc,
        name: format!("{KIND}/{namespace}/{shard}"),
        write,
        question: None,
        done,
        already,
        became: None,
        version: None,
        fields,
    };
    change.run(session).await
}
