//! `mesh namespaces watch`: `mesh namespaces list --watch --append`.

use super::list::{self, WATCH};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh namespaces watch", &[&WATCH]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh namespaces watch
  omnirelay mesh namespaces watch orders --until state==completed --timeout 5m
  omnirelay mesh namespaces watch -o jsonl --cursor-file namespaces.cursor";

/// Watch what is being done with the shards of namespaces, one line each
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct NamespacesWatchArgs {
    /// Namespaces [default: all]
    #[arg(value_name = "NAMESPACE", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    namespaces: Vec<String>,
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(args: &NamespacesWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let watching = WatchArgs { append: true, ..args.watching.clone() };
    list::watch(&args.namespaces, &watching, &TableArgs::default(), session).await
}
