//! The kinds of objects that are completed, and what is known of one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frame::rpc::RpcMethod;

/// As many as one page of the list holds.
pub(super) const OBJECTS_MAX: usize = 1000;

/// A kind of objects that is completed.
#[derive(Debug)]
pub struct CompletedKind {
    /// As in `peer/ID`.
    pub name: &'static str,
    /// The field of the list that holds them, and the beginning of their files.
    pub list: &'static str,
    pub rpc: &'static RpcMethod,
    /// Whether the list comes in pages.
    pub paged: bool,
    /// Whether each node has its own.
    pub of_node: bool,
    /// The id of one and what is said of it.
    pub known: fn(&Value) -> KnownObject,
    /// What an id may hold besides letters and digits.
    pub signs: &'static [u8],
}

/// Object as a candidate of completion shows it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct KnownObject {
    pub id: String,
    pub status: String,
}

impl KnownObject {
    /// Whether a shell takes the id for a word and nothing else, whoever claims to be the daemon.
    pub fn is_harmless(&self, kind: &CompletedKind) -> bool {
        const CHARS_MAX: usize = 256;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || kind.signs.contains(&byte);
        let id = (1..=CHARS_MAX).contains(&self.id.len()) && self.id.bytes().all(plain);
        let status = |c: char| c.is_ascii_alphanumeric() || ", -_.".contains(c);
        id && !self.id.starts_with('-') && self.status.len() <= CHARS_MAX && self.status.chars().all(status)
    }
}
