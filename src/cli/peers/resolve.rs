//! From the beginning of an id to the one peer that has it.

use omnirelay_wire::pb::omnirelay::mesh::control::v1::ListPeersRequest;

use super::LIST;
use crate::frame::list;
use crate::frame::prelude::*;

/// Whether a refusal may come of an id that was not given in full. A shell completes as far as all ids are alike: `node-`,
/// which is the id of nobody.
pub(super) fn may_be_cut(given: &str, refusal: &CliError) -> bool {
    refusal.exit() == Exit::NotFound || refusal.is(reasons::INVALID_ARGUMENT) && given.ends_with(['-', '.'])
}

/// Asks something about a peer, by its id or by the beginning of it.
///
/// # Errors
/// As of the call, and of [`by_prefix`].
pub(super) async fn ask(
    session: &CommandSession,
    given: &str,
    call: impl Fn(&str) -> Result<Call, CliError>,
) -> Result<Value, CliError> {
    match session.call(&call(given)?).await {
        Err(error) => {
            let id = by_prefix(session, given, error).await?;
            session.call(&call(&id)?).await
        }
        found => found,
    }
}

/// The id that `given` begins, asked for only after `missing` said that it is no id itself.
///
/// # Errors
/// `missing`, when no id begins so; usage, when several do.
pub(super) async fn by_prefix(
    session: &CommandSession,
    given: &str,
    missing: CliError,
) -> Result<String, CliError> {
    let names_the_peer = may_be_cut(given, &missing);
    if !names_the_peer || given.chars().count() < ids::PREFIX_MIN {
        return Err(missing);
    }
    let request = |page: &ListPage| {
        let request = ListPeersRequest { page_token: page.token.clone(), ..ListPeersRequest::default() };
        Call::of(&LIST, &request)
    };
    let document = list::fetch(session, "peers", &PageArgs::default(), true, request).await?;
    let known: Vec<&str> =
        items(&document, "peers").iter().map(|peer: &Value| text(peer, "nodeId")).collect();
    match ids::by_prefix(given, &known, super::KIND)? {
        Some(id) => {
            session.notes().say(&format!("{given} is {}/{id}", super::KIND));
            Ok(id.to_owned())
        }
        None => Err(missing),
    }
}
