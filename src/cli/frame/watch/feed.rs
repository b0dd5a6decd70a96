//! Feeds: what a watch asks for, and how what it tells is shown.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::super::document::field;
use super::super::error::CliError;
use super::super::rpc::{Call, RpcMethod};
use super::super::table::Column;
use super::live::LiveTableFooter;
use super::present::PolledState;

/// Feed that is watched.
pub(crate) struct WatchFeed<'a> {
    /// What is called, which says what is known of an object.
    pub rpc: &'static RpcMethod,
    /// The call that opens the stream, without a cursor.
    pub call: Call,
    /// The object's field in an event: `peer`; empty: what is watched are the events themselves.
    pub object: &'static str,
    /// The kind in its name: `peer`.
    pub kind: &'static str,
    /// The id of an object, empty when it is none.
    pub id: fn(&Value) -> String,
    pub columns: &'a [Column],
    /// The ids that were named in full; those that are not there when the watch begins are said.
    pub named: &'a [String],
    /// What a line says of an object that is new.
    pub summary: fn(&Value) -> String,
    /// What a line says of an event behind its time to the millisecond; nothing when that is nothing for
    /// people; `None`: its type, the id, and what differs or is new.
    pub line: Option<fn(&Value) -> String>,
    /// What a live table tells below its rows; `None`: only the rows.
    pub news: Option<LiveTableFooter>,
    /// What a live table shows that moves without an event.
    pub present: Option<PolledState<'a>>,
    /// What is kept of the objects.
    pub keep: KeptObjects,
}

impl WatchFeed<'_> {
    /// Feed of `rpc` with this request, which is watched: objects of a kind, which stand in the field of that name, and
    /// of which nothing but their ids and columns is said.
    ///
    /// # Errors
    /// When the request does not fit the method.
    pub(crate) fn of(
        rpc: &'static RpcMethod,
        request: &impl Serialize,
        kind: &'static str,
    ) -> Result<Self, CliError> {
        Ok(Self {
            rpc,
            call: Call::of(rpc, request)?,
            object: kind,
            kind,
            id: |_| String::new(),
            columns: &[],
            named: &[],
            summary: |_| String::new(),
            line: None,
            news: None,
            present: None,
            keep: KeptObjects::Latest,
        })
    }

    /// Object that an event tells of.
    pub(crate) fn object_of<'e>(&self, event: &'e Value) -> &'e Value {
        if self.object.is_empty() { event } else { field(event, self.object) }
    }
}

/// Objects of a watch that are kept in memory.
pub(crate) enum KeptObjects {
    /// All, as they are now: there are as many as there are objects.
    Latest,
    /// None: each is told once. These ids were told already.
    Nothing(BTreeSet<String>),
}
