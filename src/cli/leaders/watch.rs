//! `mesh leaders watch`: `mesh leaders list --watch --append`.

use super::list::{self, FilterArgs, WATCH};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh leaders watch", &[&WATCH]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders watch
  omnirelay mesh leaders watch global-control --max-events 1
  omnirelay mesh leaders watch --kind shard -o jsonl --cursor-file leaders.cursor
  omnirelay mesh leaders watch global-control --until leaderId==node-2 --timeout 1m";

/// Watch elections and losses, one line each
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct LeadersWatchArgs {
    /// Scopes or leader/SCOPE, in full [default: all]
    #[arg(value_name = "SCOPE", value_parser = super::scope, add = complete::ids(&super::OBJECTS))]
    scopes: Vec<String>,
    /// Only scopes of this kind: global, shard or custom
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = ["global", "shard", "custom"])]
    kind: Vec<String>,
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(args: &LeadersWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let watching = WatchArgs { append: true, ..args.watching.clone() };
    let filter = FilterArgs { kind: args.kind.clone(), ..FilterArgs::default() };
    list::watch(&args.scopes, &filter, &watching, &TableArgs::default(), session).await
}
