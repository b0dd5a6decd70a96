//! `omnirelay mesh domains`: which cluster makes the changes of what, and how far the others have followed.

mod approve;
mod get;
mod heal;
mod list;
mod set;

use serde_json::Value;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::frame::document::text;
use super::schema::documents::message;

pub(crate) use list::LIST;

/// The kind in `domain/NAME`.
pub(crate) const KIND: &str = "domain";

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "domains",
    rpc: &LIST,
    paged: true,
    of_node: false,
    known,
    signs: b"-.",
};

verbs! {
    /// Which cluster makes the changes of what, and how far it is followed
    #[command(visible_alias = "dom", alias = "domain", arg_required_else_help = true)]
    "domains" DomainsArgs {
        List: list::DomainsListArgs,
        Get: get::DomainsGetArgs,
        Set: set::DomainsSetArgs,
        Approve: approve::DomainsApproveArgs,
        Heal: heal::DomainsHealArgs,
    }
    &[
        message("domain", "mesh domains get", "omnirelay.mesh.control.v1.GetDomainResponse"),
        message("domain-change", "mesh domains set, approve", "omnirelay.mesh.control.v1.DomainChange"),
        message("domain-healed", "mesh domains heal", "omnirelay.mesh.control.v1.HealDomainResponse"),
        message("domains", "mesh domains list", "omnirelay.mesh.control.v1.ListDomainsResponse"),
    ]
}

fn known(domain: &Value) -> KnownObject {
    KnownObject { id: text(domain, "domain").to_owned(), status: text(domain, "activeCluster").to_owned() }
}
