//! `mesh rebalance-plans apply`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::follow::{self, RebalancePlansWaitArgs};
use super::get::GET;
use super::{change, tell};
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

pub(crate) const APPLY: RpcMethod = rebalance_control_service::APPLY;
pub(super) const LEAF: LeafCommand = LeafCommand::write("mesh rebalance-plans apply", &[&APPLY, &GET]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans apply plan_1a215015b7ad4fc0a --dry-run
  omnirelay mesh rebalance-plans apply plan_1a215015b7ad4fc0a --yes --timeout 10m
  omnirelay mesh rebalance-plans apply plan_1a215015b7ad4fc0a --yes --no-wait";

/// Have an approved plan carried out, and wait for its end
///
/// How far it is is said on standard error. Interrupted or after --timeout the plan goes on: mesh rebalance-plans pause and
/// cancel stop it. Ends with 10 when the plan fails. Asks before it changes anything, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansApplyArgs {
    /// The plan
    #[arg(value_name = "PLAN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    plan: String,
    #[command(flatten)]
    wait: RebalancePlansWaitArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RebalancePlansApplyArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let id = args.plan.as_str();
    if args.write.is_dry_run() {
        return tell(&APPLY, id, &args.write, "applied", session).await;
    }
    let apply = ObjectChange {
        question: Some(format!("Move the shards of plan {id}?")),
        ..change(&APPLY, id, &args.write, "applied")
    };
    let document = apply.send(session).await?;
    session.notes().say(&format!("{}/{id} applied", super::KIND));
    follow::to_the_end(session, id, document, &args.wait).await
}
