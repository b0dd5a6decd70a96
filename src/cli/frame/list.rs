//! Lists: fetching page after page, and saying so when there is more.

use omnirelay_wire::reasons;
use serde_json::{Value, json};

use super::args::PageArgs;
use super::document::{field, items, text};
use super::error::CliError;
use super::rpc::{Call, RpcMethod};
use super::session::CommandSession;

/// How often a list that moved away under its pages is begun again.
const RESTARTS_MAX: u32 = 3;
/// The most items of one page.
pub(crate) const PAGE_MAX: usize = 1000;

/// Part of a list that the next request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListPage {
    /// 0: what the daemon thinks best.
    pub size: u32,
    pub token: String,
}

impl ListPage {
    /// The size, or `usual` when the daemon is not to choose.
    pub(crate) fn size_or(&self, usual: usize) -> usize {
        if self.size == 0 { usual } else { self.size as usize }
    }
}

/// Fetches the whole of a list, whose items `filters` narrow: a request without its pages.
///
/// # Errors
/// As of [`CommandSession::call`].
pub(crate) async fn whole(
    session: &CommandSession,
    rpc: &RpcMethod,
    name: &str,
    filters: Value,
) -> Result<Value, CliError> {
    let request = |page: &ListPage| {
        let mut asked = filters.clone();
        asked["pageToken"] = json!(page.token);
        Call::of(rpc, &asked)
    };
    fetch(session, name, &PageArgs::default(), true, request).await
}

/// Fetches a list as one document: that of the first page, with the items of all.
///
/// `name` is the field that holds the items. With `all` the limit is left to the caller, who sorts first.
///
/// # Errors
/// As of [`CommandSession::call`].
pub(crate) async fn fetch(
    session: &CommandSession,
    name: &str,
    args: &PageArgs,
    all: bool,
    request: impl Fn(&ListPage) -> Result<Call, CliError>,
) -> Result<Value, CliError> {
    let limit = if all || args.limit == 0 { usize::MAX } else { args.limit };
    let mut restarts = 0;
    loop {
        match pages(session, name, args, limit, &request).await {
            Err(error)
                if error.is(reasons::PAGE_TOKEN_EXPIRED)
                    && restarts < RESTARTS_MAX
                    && args.page_token.is_none() =>
            {
                restarts += 1;
                session.notes().step(1, || "the list changed between two pages: beginning again".to_owned());
            }
            result => return result,
        }
    }
}

async fn pages(
    session: &CommandSession,
    name: &str,
    args: &PageArgs,
    limit: usize,
    request: &impl Fn(&ListPage) -> Result<Call, CliError>,
) -> Result<Value, CliError> {
    let mut page =
        ListPage { size: size_of(args, limit), token: args.page_token.clone().unwrap_or_default() };
    let mut document = session.call(&request(&page)?).await?;
    loop {
        let have = items(&document, name).len();
        let next = text(&document, token_of(&document)).to_owned();
        if next.is_empty() || have >= limit {
            return Ok(document);
        }
        page = ListPage { size: size_of(args, limit - have), token: next };
        let mut more = session.call(&request(&page)?).await?;
        let found = more.get_mut(name).and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let token = more[token_of(&document)].take();
        if let Some(known) = document.get_mut(name).and_then(Value::as_array_mut) {
            known.extend(found);
        }
        let field = token_of(&document);
        document[field] = if token.is_null() { json!("") } else { token };
    }
}

/// The field with the token of the next page: that of shards is called as the origin calls it.
fn token_of(document: &Value) -> &'static str {
    if field(document, "nextCursor").is_string() { "nextCursor" } else { "nextPageToken" }
}

/// The size of a page when `wanted` more items are wanted.
fn size_of(args: &PageArgs, wanted: usize) -> u32 {
    let most = args.page_size.map_or(PAGE_MAX, |size| size as usize);
    if wanted < most { wanted as u32 } else { args.page_size.unwrap_or(0) }
}

/// Cuts the items of `document` to the limit; says so when there are more.
pub(crate) fn limit(session: &CommandSession, document: &mut Value, name: &str, args: &PageArgs) {
    let Some(list) = document.get_mut(name).and_then(Value::as_array_mut) else { return };
    let found = list.len();
    if args.limit > 0 {
        list.truncate(args.limit);
    }
    let cut = list.len() < found || !text(document, token_of(document)).is_empty();
    if cut && args.limit > 0 {
        session.notes().say(&format!("Stopped at --limit {}: there are more.", args.limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_no_larger_than_what_is_wanted() {
        let args = |page_size| PageArgs { page_size, ..PageArgs::default() };
        assert_eq!(size_of(&args(None), usize::MAX), 0);
        assert_eq!(size_of(&args(None), 5), 5);
        assert_eq!(size_of(&args(Some(2)), 5), 2);
        assert_eq!(size_of(&args(Some(10)), 3), 3);
    }
}
