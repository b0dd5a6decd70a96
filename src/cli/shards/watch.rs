//! `mesh shards watch`: `mesh shards list --watch --append`.

use super::list::{self, FilterArgs, WATCH};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh shards watch", &[&WATCH]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards watch -n orders
  omnirelay mesh shards watch --owner node-2 -o jsonl --cursor-file shards.cursor
  omnirelay mesh shards watch -n orders --until status==active --timeout 1m";

/// Watch what becomes of shards, one line each
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsWatchArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(args: &ShardsWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let watching = WatchArgs { append: true, ..args.watching.clone() };
    list::watch(&args.filter, &watching, &TableArgs::default(), session).await
}
