//! `omnirelay bindings`: what principals may do besides what their proof says.

mod change;
mod delete;
mod list;
mod set;
mod watch;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::schema::documents::message;
use crate::frame::prelude::*;

pub(crate) use list::LIST;

/// The kind in `binding/PRINCIPAL`.
pub(crate) const KIND: &str = "binding";

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "bindings",
    rpc: &LIST,
    paged: false,
    of_node: false,
    known,
    signs: b"-._:@",
};

verbs! {
    /// Scopes that principals have besides those of their proof
    #[command(alias = "binding", arg_required_else_help = true)]
    "bindings" BindingsArgs {
        List: list::BindingsListArgs,
        Watch: watch::BindingsWatchArgs,
        Set: set::BindingsSetArgs,
        Delete: delete::BindingsDeleteArgs,
    }
    &[
        message("bindings", "bindings list", "omnirelay.security.v1.ListBindingsResponse"),
        message("binding-change", "bindings set, delete", "omnirelay.security.v1.BindingChange"),
        message("binding-event", "bindings watch, list --watch", "omnirelay.security.v1.BindingEvent"),
    ]
}

static COLUMNS: &[Column] = &[
    Column::new("principal", |binding, _| text(binding, "principal").to_owned()).keep(),
    Column::new("scopes", |binding, _| scopes(binding)).keep(),
    Column::new("since", |binding, moment| time::ago(field(binding, "updatedAt"), moment))
        .ranked(|binding| -(time::millis(field(binding, "updatedAt")).unwrap_or(0) as f64)),
    Column::new("record", |binding, _| text(binding, "version").to_owned())
        .number(|binding| text(binding, "version").parse().unwrap_or(0.0))
        .wide(),
];

fn scopes(binding: &Value) -> String {
    joined(binding, "scopes")
}

fn known(binding: &Value) -> KnownObject {
    KnownObject { id: text(binding, "principal").to_owned(), status: scopes(binding).replace(',', ", ") }
}
