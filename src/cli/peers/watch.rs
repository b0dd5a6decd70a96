//! `mesh peers watch`: `mesh peers list --watch --append`.

use super::list::{self, PeersHealthArgs, WATCH};
use crate::frame::args::FilterArgs;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh peers watch", &[&WATCH]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers watch
  omnirelay mesh peers watch --filter status=suspect --max-events 1
  omnirelay mesh peers watch -o jsonl --cursor-file peers.cursor
  omnirelay mesh peers watch -o jsonl --health
  omnirelay mesh peers watch --until status==alive --timeout 2m";

/// Watch changes of peers, one line each
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersWatchArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    health: PeersHealthArgs,
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(args: &PeersWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let watching = WatchArgs { append: true, ..args.watching.clone() };
    list::watch(&args.filter, &args.health, &watching, &TableArgs::default(), session).await
}
