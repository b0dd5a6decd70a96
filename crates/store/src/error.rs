//! Errors of a store that did not do what it was asked for.

use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_wire::fault::Fault;

use super::{Epoch, GroupId, GroupRef, RecordId, RecordKind, Version};

/// Error of a call of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was changed. Try again.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store does not let this daemon do what it must. Nothing was changed. Try again once it may.
    #[error("the store does not let this daemon do what it must: {what}")]
    Denied { what: String },
    /// The store has no room. Nothing was changed.
    #[error("the store is full")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It may or may not have happened; repeat it under the same idempotency key.
    #[error("the store did not say whether the change was made")]
    OutcomeUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored cannot be understood. Nothing was changed.
    #[error("the store holds something that this version does not understand: {what}")]
    Incompatible {
        what: String,
        /// The record that it is, when it is one.
        record: Option<Box<RecordId>>,
    },
    /// The call breaks a limit of the port. Nothing was changed.
    #[error("{what}")]
    Invalid { what: String },
    /// The call was made for another epoch. Nothing was changed; what the caller knows of
    /// records, groups and leases is void.
    #[error("the registry has begun a new epoch, {current}")]
    EpochChanged { current: Epoch },
}

impl StoreError {
    /// Whether the store turns this daemon away until an operator has done something about it. That it is full is told
    /// of by whoever commits.
    pub fn lasts(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Incompatible { .. })
    }
}

/// Error of a commit that was not made. Nothing was changed, except as [`StoreError::OutcomeUnknown`] says.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("`{id}` has version {actual}, not {expected}")]
    Conflict { id: RecordId, expected: Version, actual: Version },
    /// A [`Precondition::GroupLive`] or a write's group.
    #[error("group `{0}` is over")]
    GroupOver(GroupRef),
    /// A [`Precondition::GroupOver`].
    #[error("group `{group}` is live until {until}")]
    GroupLive { group: GroupId, until: Millis },
    /// `current` is `None` when nobody holds the scope.
    #[error("token {token} of scope `{scope}` is not the current one")]
    Fenced { scope: String, token: u64, current: Option<u64> },
    #[error("scope `{scope}` is held until {until}")]
    LeaseHeld { scope: String, holder: Option<GroupRef>, until: Millis },
    #[error("the idempotency key was used for another request")]
    IdempotencyReused,
    /// The store does not let this process write records of this kind; it may write others.
    #[error("the store does not let this daemon write records of kind `{}`", kind.0)]
    KindDenied { kind: RecordKind },
    /// The daemon does not write this record now; the store was not asked.
    #[error("`{id}` is closed to writes: {why}")]
    Closed { id: RecordId, why: Arc<str> },
    /// Whoever was to let the daemon commit does not, as the fault says; the store was not asked.
    #[error("{0}")]
    Declined(Box<Fault>),
    #[error(transparent)]
    Store(#[from] StoreError),
}
