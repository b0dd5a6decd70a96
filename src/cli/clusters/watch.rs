//! `mesh clusters watch`: `mesh clusters list --watch --append`.

use super::list::{self, WATCH};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh clusters watch", &[&WATCH]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh clusters watch
  omnirelay mesh clusters watch west --until state==maintenance --timeout 5m
  omnirelay mesh clusters watch -o jsonl --cursor-file clusters.cursor";

/// Watch changes of clusters, one line each
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ClustersWatchArgs {
    /// Clusters [default: all]
    #[arg(value_name = "CLUSTER", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    clusters: Vec<String>,
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(args: &ClustersWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let watching = WatchArgs { append: true, ..args.watching.clone() };
    list::watch(&args.clusters, &watching, &TableArgs::default(), session).await
}
