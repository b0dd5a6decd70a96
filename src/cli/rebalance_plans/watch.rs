//! `mesh rebalance-plans watch`: `mesh rebalance-plans list --watch --append`.

use super::list::{self, WATCH};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh rebalance-plans watch", &[&WATCH]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans watch
  omnirelay mesh rebalance-plans watch plan_1a215015b7ad4fc0a --until state==completed --timeout 5m
  omnirelay mesh rebalance-plans watch -o jsonl --cursor-file plans.cursor";

/// Watch what becomes of plans, one line each
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansWatchArgs {
    /// Plans [default: all]
    #[arg(value_name = "PLAN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    plans: Vec<String>,
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(
    args: &RebalancePlansWatchArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let watching = WatchArgs { append: true, ..args.watching.clone() };
    list::watch(&args.plans, &[], &watching, &TableArgs::default(), session).await
}
