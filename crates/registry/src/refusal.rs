//! Refusals of mutations that were not carried out, as their callers are told.

use omnirelay_core::text::chain;
use omnirelay_identity::caller::IfMatch;
use omnirelay_store::{CommitError, StoreError, Version};
use omnirelay_wire::fault::{Code, Fault};
use omnirelay_wire::reasons;

use super::mutate::Mutation;
use super::write_gate::gate_fault;

pub(super) fn internal(mutation: &Mutation<'_>) -> Fault {
    Fault::new(reasons::INTERNAL, format!("cannot carry out {}", mutation.action))
}

pub(super) fn conflict_fault(mutation: &Mutation<'_>, expected: Version, actual: Version) -> Fault {
    let Mutation { action, object, .. } = mutation;
    let message = match actual.0 {
        0 => format!("cannot carry out {action}: {object} does not exist, version {expected} was expected"),
        _ => format!("cannot carry out {action}: {object} has version {actual}, not {expected}"),
    };
    Fault::new(reasons::VERSION_CONFLICT, message)
        .hint("read it again, then repeat with the version it has now")
        .detail("expectedVersion", expected)
        .detail("actualVersion", actual)
}

pub(super) fn commit_fault(mutation: &Mutation<'_>, error: &CommitError) -> Fault {
    let action = mutation.action;
    match error {
        CommitError::Conflict { expected, actual, .. } => conflict_fault(mutation, *expected, *actual),
        CommitError::IdempotencyReused => Fault::new(
            reasons::IDEMPOTENCY_KEY_REUSED,
            format!("cannot carry out {action}: its idempotency key was used for another request"),
        )
        .hint("use a new key for a new request"),
        CommitError::Fenced { scope, .. } | CommitError::LeaseHeld { scope, .. } => Fault::new(
            reasons::FENCED,
            format!("cannot carry out {action}: this node does not lead `{scope}`"),
        ),
        CommitError::GroupOver(group) => {
            Fault::new(reasons::GROUP_OVER, format!("cannot carry out {action}: `{}` has ended", group.id))
        }
        CommitError::GroupLive { group, .. } => {
            Fault::new(reasons::GROUP_LIVE, format!("cannot carry out {action}: `{group}` is live"))
        }
        CommitError::KindDenied { .. } => unavailable(mutation, &chain(&error)).hint(
            "ask a daemon that can issue: its user of the store may write what issuers sign. A host that has just been given the \
             issuer's secret may once another issuer has seen that, which takes seconds",
        ),
        CommitError::Closed { .. } | CommitError::Declined(_) => {
            gate_fault(action, error).unwrap_or_else(|| internal(mutation))
        }
        CommitError::Store(error) => store_fault(mutation, error),
    }
}

pub(super) fn store_fault(mutation: &Mutation<'_>, error: &StoreError) -> Fault {
    let action = mutation.action;
    match error {
        StoreError::Unavailable(_) => unavailable(mutation, "the store cannot be reached"),
        StoreError::Denied { .. } => unavailable(mutation, &chain(&error)),
        StoreError::Full(_) => Fault::new(
            reasons::STORE_FULL,
            format!("cannot carry out {action}: the store is full; nothing was changed"),
        )
        .hint("make room where the store keeps its data, then try again"),
        StoreError::OutcomeUnknown(_) => outcome_unknown(mutation),
        StoreError::Invalid { what } => Fault::invalid(format!("cannot carry out {action}: {what}")),
        StoreError::EpochChanged { .. } if matches!(mutation.expected, Some(IfMatch::Version(_))) => {
            epoch_changed(mutation)
        }
        StoreError::EpochChanged { .. } => {
            unavailable(mutation, "the registry has begun a new epoch, which this daemon has not read yet")
        }
        StoreError::Incompatible { what, .. } => Fault::new(
            reasons::INTERNAL,
            format!("cannot carry out {action}: what the store holds cannot be understood: {what}"),
        ),
    }
}

/// The fault of a change that expects a version: those of the epoch before mean nothing any more.
pub(super) fn epoch_changed(mutation: &Mutation<'_>) -> Fault {
    let action = mutation.action;
    let message = format!(
        "cannot carry out {action}: the registry has begun a new epoch, and versions with it; nothing was changed"
    );
    Fault::new(reasons::EPOCH_CHANGED, message).hint("read again, then repeat")
}

/// The fault of a change that did not get as far as the store.
pub(super) fn unavailable(mutation: &Mutation<'_>, why: &str) -> Fault {
    let action = mutation.action;
    Fault::new(reasons::STORE_UNAVAILABLE, format!("cannot carry out {action}: {why}; nothing was changed"))
        .hint("try again; `omnirelay mesh check` shows the state of the store")
}

fn outcome_unknown(mutation: &Mutation<'_>) -> Fault {
    let action = mutation.action;
    let message = format!("{action} was sent to the store, which did not say whether it was made");
    let fault = Fault::new(reasons::OUTCOME_UNKNOWN, message);
    // Of a dry run nothing is kept to answer a repetition with; nothing is changed by one either.
    match mutation.caller.repeat_key().filter(|_| !mutation.dry_run) {
        Some(key) => fault
            .hint(format!("repeat it with the idempotency key {key}; it is applied at most once"))
            .detail("idempotencyKey", key),
        None => fault.hint(format!(
            "it may still be made: read `{0}` in a moment, or `omnirelay audit list --object {0}`, before you repeat it; \
             with an idempotency key it can be repeated at once",
            mutation.object
        )),
    }
}

/// Whether a refusal is about what the registry holds, and not about the request alone.
pub(super) fn is_of_state(code: Code) -> bool {
    match code {
        Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::ResourceExhausted => true,
        Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}
