//! Errors of records that could not be kept alive, and what their callers are told.

use omnirelay_core::text::chain;
use omnirelay_store::{CommitError, StoreError};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

use crate::ttl_renewal::TooManyWait;
use crate::write_gate::gate_fault;

/// Error of a record that could not be kept or brought to life.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error(transparent)]
    TooManyWait(#[from] TooManyWait),
    /// Others have opened all its groups, and not used them.
    #[error("others begin its life")]
    Held,
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<StoreError> for LifeError {
    fn from(error: StoreError) -> Self {
        Self::Commit(error.into())
    }
}

impl LifeError {
    /// Whether it helps to look again: somebody else was faster.
    pub fn is_overtaken(&self) -> bool {
        let moved = |error: &CommitError| {
            matches!(
                error,
                CommitError::Conflict { .. }
                    | CommitError::GroupOver(_)
                    | CommitError::Store(StoreError::EpochChanged { .. })
            )
        };
        match self {
            Self::Held => true,
            Self::Commit(error) => moved(error),
            Self::TooManyWait(_) => false,
        }
    }

    /// Whether a heartbeat may be told to the store later.
    pub(super) fn may_pass(&self) -> bool {
        let refused = |error: &StoreError| {
            matches!(error, StoreError::Invalid { .. } | StoreError::Incompatible { .. })
        };
        match self {
            Self::Held | Self::Commit(CommitError::GroupOver(_)) => true,
            Self::Commit(CommitError::Store(error)) => !refused(error),
            Self::TooManyWait(_) | Self::Commit(_) => false,
        }
    }

    /// As the caller of `action` is told.
    pub fn fault(&self, action: &str) -> Fault {
        match self {
            Self::TooManyWait(_) => unavailable(action, "too many heartbeats wait for the store"),
            Self::Held => unavailable(action, "other daemons are about to do it"),
            Self::Commit(CommitError::Store(error)) => store_fault(action, error),
            Self::Commit(error) => gate_fault(action, error)
                .unwrap_or_else(|| unavailable(action, "others change the same all the time")),
        }
    }
}

fn store_fault(action: &str, error: &StoreError) -> Fault {
    match error {
        StoreError::Unavailable(_) => unavailable(action, "the store cannot be reached"),
        StoreError::Denied { .. } => unavailable(action, &chain(&error)),
        StoreError::EpochChanged { .. } => unavailable(action, "the registry has begun a new epoch"),
        StoreError::OutcomeUnknown(_) => {
            let message = format!("{action} was sent to the store, which did not say whether it was made");
            Fault::new(reasons::OUTCOME_UNKNOWN, message).hint("repeat it; twice is as once")
        }
        StoreError::Full(_) => {
            let message = format!("cannot carry out {action}: the store is full; nothing was changed");
            Fault::new(reasons::STORE_FULL, message)
                .hint("make room where the store keeps its data, then try again")
        }
        StoreError::Invalid { .. } | StoreError::Incompatible { .. } => {
            Fault::new(reasons::INTERNAL, format!("cannot carry out {action}"))
        }
    }
}

pub(super) fn unavailable(action: &str, why: &str) -> Fault {
    let message = format!("cannot carry out {action}: {why}; nothing was changed");
    Fault::new(reasons::STORE_UNAVAILABLE, message)
        .hint("try again; `omnirelay mesh check` shows the state of the store")
}
