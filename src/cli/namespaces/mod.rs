//! `omnirelay mesh namespaces`: what shards are shards of, and the rules by which they are owned.

mod create;
mod delete;
mod get;
mod list;
mod set;
mod spec;
mod states;
mod watch;

use serde_json::Value;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::frame::document::text;
use super::schema::documents::message;

pub(crate) use list::LIST;

/// The kind in `namespace/NAME`.
pub(crate) const KIND: &str = "namespace";

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "namespaces",
    rpc: &LIST,
    paged: false,
    of_node: false,
    known,
    signs: b"-._:",
};

verbs! {
    /// What shards are shards of, and the rules by which they are owned
    #[command(visible_alias = "ns", alias = "namespace", arg_required_else_help = true)]
    "namespaces" NamespacesArgs {
        List: list::NamespacesListArgs,
        Get: get::NamespacesGetArgs,
        States: states::NamespacesStatesArgs,
        Watch: watch::NamespacesWatchArgs,
        Create: create::NamespacesCreateArgs,
        Set: set::NamespacesSetArgs,
        Delete: delete::NamespacesDeleteArgs,
    }
    &[
        message("namespace", "mesh namespaces get", "omnirelay.mesh.control.v1.GetNamespaceResponse"),
        message("namespace-change", "mesh namespaces create, set, delete", "omnirelay.mesh.control.v1.NamespaceChange"),
        message("namespaces", "mesh namespaces list", "omnirelay.mesh.control.v1.ListNamespacesResponse"),
        message("rebalance-event", "mesh namespaces watch, list --watch", "omnirelay.mesh.control.v1.RebalanceEvent"),
        message("namespace-states", "mesh namespaces states", "omnirelay.mesh.control.v1.RebalanceStatesResponse"),
        message("rebalance-policy", "mesh namespaces create, set (the field `policy` of a file)", "omnirelay.mesh.control.v1.RebalancePolicy"),
    ]
}

fn known(namespace: &Value) -> KnownObject {
    let status = format!("{} shards, {}", text(namespace, "shards"), text(namespace, "state"));
    KnownObject { id: text(namespace, "namespace").to_owned(), status }
}
