//! `omnirelay mesh rebalance-plans`: which shards are to move, who said so, and how far they are.

mod apply;
mod approve;
mod cancel;
pub(crate) mod follow;
mod get;
mod list;
mod pause;
mod reject;
mod resume;
mod watch;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::frame::change::ObjectChange;
use super::schema::documents::message;
use crate::frame::prelude::*;

pub(crate) use apply::APPLY;
pub(crate) use approve::APPROVE;
pub(crate) use get::GET;
pub(crate) use list::LIST;

/// The kind in `plan/ID`.
pub(crate) const KIND: &str = "plan";

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind =
    CompletedKind { name: KIND, list: "plans", rpc: &LIST, paged: false, of_node: false, known, signs: b"_" };

verbs! {
    /// Plans of moves of shards: who approved them, and how far they are
    #[command(visible_alias = "plans", alias = "rebalance-plan", arg_required_else_help = true)]
    "rebalance-plans" PlansArgs {
        List: list::RebalancePlansListArgs,
        Get: get::RebalancePlansGetArgs,
        Watch: watch::RebalancePlansWatchArgs,
        Approve: approve::RebalancePlansApproveArgs,
        Reject: reject::RebalancePlansRejectArgs,
        Apply: apply::RebalancePlansApplyArgs,
        Pause: pause::RebalancePlansPauseArgs,
        Resume: resume::RebalancePlansResumeArgs,
        Cancel: cancel::RebalancePlansCancelArgs,
    }
    &[
        message("rebalance-plan", "mesh rebalance-plans get", "omnirelay.mesh.control.v1.GetPlanResponse"),
        message("rebalance-plan-change", "mesh shards rebalance, mesh rebalance-plans approve, reject, apply, pause, resume, cancel", "omnirelay.mesh.control.v1.PlanChange"),
        message("rebalance-plan-event", "mesh rebalance-plans watch, list --watch", "omnirelay.mesh.control.v1.PlanEvent"),
        message("rebalance-plans", "mesh rebalance-plans list", "omnirelay.mesh.control.v1.ListPlansResponse"),
    ]
}

fn known(plan: &Value) -> KnownObject {
    let status = format!("{}, {}", text(plan, "namespace"), text(plan, "state"));
    KnownObject { id: text(plan, "planId").to_owned(), status }
}

/// What is said to a plan.
fn change<'a>(rpc: &'a RpcMethod, id: &str, write: &'a WriteArgs, done: &'static str) -> ObjectChange<'a> {
    ObjectChange {
        rpc,
        name: format!("{KIND}/{id}"),
        write,
        question: None,
        done,
        already: "that was said already",
        became: None,
        version: None,
        fields: json!({ "planId": id }),
    }
}

/// Says something to a plan, and prints the answer.
async fn tell(
    rpc: &RpcMethod,
    id: &str,
    write: &WriteArgs,
    done: &'static str,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    change(rpc, id, write, done).run(session).await
}

/// Says something to a plan on the way to something else: what came of it goes to standard error.
pub(crate) async fn say(
    rpc: &RpcMethod,
    id: &str,
    write: &WriteArgs,
    done: &'static str,
    session: &mut CommandSession,
) -> Result<Value, CliError> {
    // What the version was meant for is the map.
    let write = write.for_the_next();
    let document = change(rpc, id, &write, done).send(session).await?;
    session.notes().say(&format!("{KIND}/{id} {done}"));
    Ok(document)
}
