//! `mesh leaders status`: who leads which scope, by which token, and for how long yet.

use super::get::GET;
use super::list::{LIST, LeadersRowArgs, WATCH, rows};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh leaders status", &[&LIST, &GET, &WATCH]).exiting("0 1 2 3 5 6 7 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders status
  omnirelay mesh leaders status global-control
  omnirelay mesh leaders status --watch
  omnirelay mesh leaders status global-control -o json | jq -r '.tokens[0].fenceToken'";

/// Show who leads scopes, their leases and how often they changed hands
///
/// Without a scope it shows all of them. A scope that nobody leads has `-` for a leader and says why,
/// and SINCE is since when. `!` marks two elections or more in the last hour. A watch on a terminal tells below
/// the table who has followed whom, why, and for how long nobody led.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct LeadersStatusArgs {
    /// Scopes or leader/SCOPE, in full
    #[arg(value_name = "SCOPE", value_parser = super::scope, add = complete::ids(&super::OBJECTS))]
    scopes: Vec<String>,
    #[command(flatten)]
    rows: LeadersRowArgs,
}

pub(super) async fn run(args: &LeadersStatusArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    rows(&args.scopes, &args.rows, session).await
}
