//! `omnirelay mesh clusters`: the clusters of the trust domain.

mod check;
mod delete;
mod get;
mod list;
mod set;
mod watch;

use serde_json::Value;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::frame::document::text;
use super::schema::documents::message;

pub(crate) use list::LIST;

/// The kind in `cluster/NAME`.
pub(crate) const KIND: &str = "cluster";

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "clusters",
    rpc: &LIST,
    paged: true,
    of_node: false,
    known,
    signs: b"-.",
};

verbs! {
    /// The clusters of the trust domain, and where they are reached
    #[command(visible_alias = "cl", alias = "cluster", arg_required_else_help = true)]
    "clusters" ClustersArgs {
        List: list::ClustersListArgs,
        Get: get::ClustersGetArgs,
        Watch: watch::ClustersWatchArgs,
        Check: check::ClustersCheckArgs,
        Set: set::ClustersSetArgs,
        Delete: delete::ClustersDeleteArgs,
    }
    &[
        message("cluster", "mesh clusters get", "omnirelay.mesh.control.v1.GetClusterResponse"),
        message("cluster-change", "mesh clusters set, delete", "omnirelay.mesh.control.v1.ClusterChange"),
        message("cluster-event", "mesh clusters watch, list --watch", "omnirelay.mesh.control.v1.ClusterEvent"),
        message("clusters-check", "mesh clusters check", "omnirelay.mesh.control.v1.CheckClustersResponse"),
        message("clusters", "mesh clusters list", "omnirelay.mesh.control.v1.ListClustersResponse"),
    ]
}

fn known(cluster: &Value) -> KnownObject {
    KnownObject { id: text(cluster, "clusterId").to_owned(), status: text(cluster, "state").to_owned() }
}
