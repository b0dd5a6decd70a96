//! `bindings watch`: `bindings list --watch --append`.

use super::list::{self, WATCH};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("bindings watch", &[&WATCH]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay bindings watch
  omnirelay bindings watch -o jsonl --cursor-file bindings.cursor";

/// Watch changes of role bindings, one line each
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct BindingsWatchArgs {
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(args: &BindingsWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let watching = WatchArgs { append: true, ..args.watching.clone() };
    list::watch(&watching, &TableArgs::default(), session).await
}
