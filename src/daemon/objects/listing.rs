//! Pages of a list: each token names its query and the revision all its pages show.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::daemon::registry::cursor::Cursor;
use crate::wire::fault::{Code, Fault};

const TOKEN_BYTES_MAX: usize = 2048;

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageToken {
    /// Of the filters and the order.
    query: u64,
    cursor: String,
    /// The sort key and id of the last item of the page before.
    pub after: (String, String),
}

impl PageToken {
    /// The token of the page behind `after`.
    pub fn encode(query: u64, cursor: Cursor, after: (String, String)) -> String {
        let token = Self { query, cursor: cursor.to_string(), after };
        serde_json::to_vec(&token).map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
    }

    /// Reads a token of this query; empty is the first page.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` when it is none, or of another query.
    pub fn decode(text: &str, query: u64) -> Result<Option<Self>, Fault> {
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = (text.len() <= TOKEN_BYTES_MAX).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
        let token: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match token {
            Some(token) if token.query == query => Ok(Some(token)),
            Some(_) => Err(refuse("field `pageToken` belongs to a list with other filters or another order")),
            None => Err(refuse("field `pageToken` is no page token")),
        }
    }

    /// The place in the log all pages of the list show.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` when the token was tampered with.
    pub fn cursor(&self) -> Result<Cursor, Fault> {
        self.cursor.parse().map_err(|_| refuse("field `pageToken` is no page token"))
    }
}

fn refuse(message: &str) -> Fault {
    Fault::new(Code::InvalidArgument, "INVALID_PAGE_TOKEN", message)
        .hint("begin again without a page token, or repeat the filters and the order of the first page")
}

/// The fault for a token whose revision is no longer known.
pub fn expired() -> Fault {
    Fault::new(Code::Aborted, "PAGE_TOKEN_EXPIRED", "too much has changed since the first page was read")
        .hint("begin again without a page token")
}

/// The page size of a request: 0 means `default`.
///
/// # Errors
/// `INVALID_ARGUMENT` beyond `max`.
pub fn page_size(asked: u32, default: usize, max: usize) -> Result<usize, Fault> {
    match asked as usize {
        0 => Ok(default),
        size if size <= max => Ok(size),
        size => Err(Fault::invalid(format!("field `pageSize` is {size}, the limit is {max}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::store::{Epoch, Revision};

    #[test]
    fn a_token_is_good_for_its_own_query_only() {
        let cursor = Cursor::at(Epoch(7), Revision(9));
        let text = PageToken::encode(1, cursor, ("k".to_owned(), "id".to_owned()));
        assert_eq!(PageToken::decode(&text, 1).unwrap().unwrap().cursor().unwrap(), cursor);
        assert_eq!(PageToken::decode(&text, 2).unwrap_err().reason, "INVALID_PAGE_TOKEN");
        assert_eq!(PageToken::decode("garbage!", 1).unwrap_err().reason, "INVALID_PAGE_TOKEN");
        assert_eq!(PageToken::decode(&"A".repeat(5000), 1).unwrap_err().reason, "INVALID_PAGE_TOKEN");
    }

    #[test]
    fn page_sizes_are_bounded() {
        assert_eq!(page_size(0, 100, 1000), Ok(100));
        assert_eq!(page_size(1000, 100, 1000), Ok(1000));
        assert!(page_size(1001, 100, 1000).is_err());
    }
}
