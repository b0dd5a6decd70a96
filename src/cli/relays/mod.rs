//! `omnirelay relays`: the relays that the registry knows to live.

pub(crate) mod columns;
mod get;
mod list;
mod watch;

use omnirelay_wire::rpc::aero_registry;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::frame::list::{PAGE_MAX, fetch};
use super::frame::settings::CommandTarget;
use super::schema::documents::{headed, message, own};
use super::schema::schemas;
use crate::frame::prelude::*;

pub(crate) use get::known;

/// The kind in `relay/ID`.
pub(crate) const KIND: &str = "relay";

pub(crate) const LIST: RpcMethod = aero_registry::LIST_RELAYS;
pub(crate) const WATCH: RpcMethod = aero_registry::WATCH;

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "relays",
    rpc: &LIST,
    paged: true,
    of_node: false,
    known: completed,
    signs: b"-._:",
};

fn completed(relay: &Value) -> KnownObject {
    let status = format!("{} agents", number(relay, "agents"));
    KnownObject { id: text(relay, "relayId").to_owned(), status }
}

verbs! {
    /// The relays that live, as the registry knows them
    #[command(alias = "relay", arg_required_else_help = true)]
    "relays" RelaysArgs {
        List: list::RelaysListArgs,
        Get: get::RelaysGetArgs,
        Watch: watch::RelaysWatchArgs,
    }
    &[
        own("relay", "relays get", schemas::relay),
        message("relay-event", "relays watch, agents watch", "aeroarc.registry.v1.WatchEvent"),
        headed("relays", "relays list", "aeroarc.registry.v1.ListRelaysResponse"),
    ]
}

/// All live relays, as one document.
///
/// # Errors
/// As of [`CommandSession::call`].
pub(crate) async fn all(session: &CommandSession) -> Result<Value, CliError> {
    fetch(session, "relays", &PageArgs::default(), true, |page| request(page, "")).await
}

/// The call for one page of relays.
fn request(page: &ListPage, at: &str) -> Result<Call, CliError> {
    let asked = json!({ "pageSize": page.size_or(PAGE_MAX), "pageToken": page.token, "at": at });
    Call::of(&LIST, &asked)
}

/// The failure when no live relay has this id.
pub(crate) fn unknown(id: &str) -> CliError {
    CliError::new(reasons::RELAY_NOT_FOUND, format!("there is no live relay `{id}`"))
        .hint("omnirelay relays list         # those that live")
}

/// An id as it was given: `relay/` is taken off, for what `-o name` prints can be given again.
pub(crate) fn id(given: &str) -> Result<String, String> {
    let id = id_in("relay", given);
    if id.is_empty() { Err(format!("an empty text is no id of a {KIND}")) } else { Ok(id.to_owned()) }
}

/// Message for when no relay lives, with how to have one.
pub(crate) fn none_lives(target: &CommandTarget) -> &'static str {
    match target.may_be_development() {
        true => "No relay lives. Start one: omnirelay up --service relay",
        false => "No relay lives. A daemon is one where `node.services` has `relay`.",
    }
}
