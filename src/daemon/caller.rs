//! Who calls, and what came along with the call.

use std::collections::BTreeSet;

/// What a caller may do. Declared per method in the proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// `mesh.read`
    Read,
    /// `mesh.operate`
    Operate,
    /// `mesh.admin`
    Admin,
}

/// The caller of one operation, as the daemon proved it, and the conditions of the call.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub principal: String,
    pub scopes: BTreeSet<Scope>,
    /// In the answer's headers, the log and the audit record.
    pub request_id: String,
    /// Makes a mutation repeatable; `None` when the caller sent none.
    pub idempotency_key: Option<String>,
    /// The version the object must have; `None` when the caller sent none.
    pub if_match: Option<u64>,
    /// The ETag the caller has already.
    pub if_none_match: Option<String>,
}

impl Scope {
    /// As in the proto: `mesh.read`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "mesh.read",
            Self::Operate => "mesh.operate",
            Self::Admin => "mesh.admin",
        }
    }
}
