//! Lease operations of a commit on scopes.

use super::GroupRef;

/// A lease operation inside a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOp {
    /// Takes a free scope, or confirms a lease that `holder` has (term and token stay). `holder`
    /// must be live. The token is the greatest of: the last token + 1, store time in ms,
    /// `token_floor` + 1; a floor is at most [`TOKEN_FLOOR_MAX`](super::TOKEN_FLOOR_MAX).
    Acquire { scope: String, holder: GroupRef, token_floor: u64 },
    /// Gives a scope back; nothing happens if `token` is not its current one.
    Release { scope: String, token: u64 },
    /// Forgets the lease of a scope, whose terms then begin with 1 again. Nothing happens if there is none, if the scope
    /// is not free, or if its token is not below store time: the next one, which is not below store time, is above it, also
    /// once store time was brought back.
    /// The scope is in no other operation of its commit.
    Forget { scope: String },
}

impl LeaseOp {
    /// The scope it is about.
    pub fn scope(&self) -> &str {
        match self {
            Self::Acquire { scope, .. } | Self::Release { scope, .. } | Self::Forget { scope } => scope,
        }
    }
}
