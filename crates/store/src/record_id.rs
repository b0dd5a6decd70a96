//! The id of a record: a kind and a key.

use std::borrow::Cow;

/// A kind of record, such as `peer`: `[a-z][a-z0-9_-]*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKind(pub Cow<'static, str>);

/// Id of a record: keys are unique within a kind and ordered by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    pub kind: RecordKind,
    /// 1 to [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX) bytes.
    pub key: String,
}

impl RecordKind {
    /// A kind known when the program was written.
    pub const fn of(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl RecordId {
    /// The record `key` of `kind`.
    pub fn new(kind: RecordKind, key: impl Into<String>) -> Self {
        Self { kind, key: key.into() }
    }
}
