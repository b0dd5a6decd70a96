//! `omnirelay mesh leaders`: the scopes of a mesh and who leads them.

mod change;
mod columns;
mod create;
mod delete;
mod explain;
mod get;
mod history;
mod list;
mod policy;
mod set;
mod status;
mod step_down;
mod transfer;
mod watch;

use serde_json::Value;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::frame::args::id_in;
use super::frame::document::text;
use super::schema::documents::message;

pub(crate) use columns::what;
pub(crate) use list::LIST;

/// The kind in `leader/SCOPE`.
pub(crate) const KIND: &str = "leader";

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "scopes",
    rpc: &LIST,
    paged: true,
    of_node: false,
    known,
    signs: b"-._/:",
};

fn known(scope: &Value) -> KnownObject {
    let status = match text(scope, "leaderId") {
        "" => "no leader".to_owned(),
        leader => format!("led by {leader}"),
    };
    KnownObject { id: text(scope, "scope").to_owned(), status }
}

verbs! {
    /// The scopes of the mesh and who leads them
    #[command(alias = "leader", arg_required_else_help = true)]
    "leaders" LeadersArgs {
        List: list::LeadersListArgs,
        Status: status::LeadersStatusArgs,
        Get: get::LeadersGetArgs,
        Watch: watch::LeadersWatchArgs,
        History: history::LeadersHistoryArgs,
        Explain: explain::LeadersExplainArgs,
        Transfer: transfer::LeadersTransferArgs,
        StepDown: step_down::LeadersStepDownArgs,
        Create: create::LeadersCreateArgs,
        Set: set::LeadersSetArgs,
        Delete: delete::LeadersDeleteArgs,
    }
    &[
        message("leader", "mesh leaders get", "omnirelay.mesh.control.v1.GetLeaderResponse"),
        message("leader-change", "mesh leaders transfer, step-down, create, set, delete", "omnirelay.mesh.control.v1.LeaderChange"),
        message("leader-event", "mesh leaders watch, list --watch", "omnirelay.mesh.control.v1.LeaderEvent"),
        message("leader-explanation", "mesh leaders explain", "omnirelay.mesh.control.v1.ExplainLeaderResponse"),
        message("leader-history", "mesh leaders history", "omnirelay.mesh.control.v1.LeadershipHistoryResponse"),
        message("leaders", "mesh leaders list, status", "omnirelay.mesh.control.v1.ListLeadersResponse"),
    ]
}

/// A scope as it was given: `leader/` is taken off once, for what `-o name` prints can be given again.
pub(crate) fn scope(given: &str) -> Result<String, String> {
    let scope = id_in("leader", given);
    if scope.is_empty() { Err("an empty text is no scope".to_owned()) } else { Ok(scope.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_loses_the_kind_and_nothing_else() {
        let cases = [
            ("global-control", Ok("global-control")),
            ("leader/global-control", Ok("global-control")),
            ("shard/orders/03", Ok("shard/orders/03")),
            ("leader/shard/orders/03", Ok("shard/orders/03")),
            ("leader/leader/x", Ok("leader/x")),
            ("leader/", Err(())),
            ("", Err(())),
        ];
        for (given, expected) in cases {
            assert_eq!(scope(given).map_err(|_| ()), expected.map(str::to_owned), "{given}");
        }
    }
}
