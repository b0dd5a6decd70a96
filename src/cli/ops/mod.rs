//! `omnirelay ops`: operations, which take a daemon longer than a call.

mod cancel;
pub(crate) mod follow;
pub(crate) mod get;
pub(crate) mod list;
mod progress;
mod wait;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::schema::documents::message;
use crate::frame::prelude::*;

pub(crate) use list::LIST;

/// The kind in `operation/ID`.
pub(crate) const KIND: &str = "operation";

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "operations",
    rpc: &LIST,
    paged: false,
    of_node: false,
    known,
    signs: b"_",
};

fn known(operation: &Value) -> KnownObject {
    let status = format!("{} {}", text(operation, "action"), text(operation, "state"));
    KnownObject { id: text(operation, "operationId").to_owned(), status }
}

verbs! {
    /// What takes a daemon longer than a call
    #[command(alias = "operations", arg_required_else_help = true)]
    "ops" OpsArgs (node) {
        List: list::OpsListArgs,
        Get: get::OpsGetArgs,
        Wait: wait::OpsWaitArgs,
        Cancel: cancel::OpsCancelArgs,
    }
    &[
        message("operation", "ops get, wait", "omnirelay.mesh.control.v1.GetOperationResponse"),
        message("operation-change", "ops cancel", "omnirelay.mesh.control.v1.OperationChange"),
        message("operations", "ops list", "omnirelay.mesh.control.v1.ListOperationsResponse"),
    ]
}

/// `50/101`; empty while nobody knows of how many.
fn done(operation: &Value) -> String {
    match number(operation, "total") {
        0 => String::new(),
        total => format!("{}/{total}", number(operation, "done")),
    }
}

/// Whether it goes on no more, whatever else a newer daemon may call its states.
fn is_ended(operation: &Value) -> bool {
    matches!(text(operation, "state"), "succeeded" | "failed" | "partial" | "cancelled")
}
