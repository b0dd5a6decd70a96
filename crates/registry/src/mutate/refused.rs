//! Refusals of mutations that are not carried out, and whether these are to be decided again.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::caller::IfMatch;
use omnirelay_store::{CommitError, Epoch, RecordId, StoreError, Version};
use omnirelay_wire::fault::{Code, Fault};
use tokio::time::Instant;

use super::{Mutation, RECALL_TIMEOUT, Registry, may_decide_again};
use crate::act::{CommitPlan, DaemonAct, DecisionReader};
use crate::completeness::lost;
use crate::refusal::{commit_fault, conflict_fault, epoch_changed, is_of_state, unavailable};
use crate::view::ViewRecord;

/// How long it waits for a view that is behind, for a new epoch to be read, and for what that has lost to be restored:
/// each node restores its own record within a second.
const PASS_WAIT: Duration = Duration::from_secs(4);
/// How much of a caller's time is left for the answer.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// Refusal of a mutation just now, with what its caller is told if it is not decided again.
pub(super) enum MutationRefusal {
    Finally(Fault),
    /// By what the view shows, which may be behind the store.
    Decided(Fault),
    /// Somebody was faster, and the view is about to show what stood in the way.
    Behind(CommitError),
    /// The registry has begun another epoch than this one.
    OfEpoch(Epoch, Fault),
    /// A new epoch has lost these records, which are about to be there again.
    Lost(Vec<RecordId>, Fault),
}

impl MutationRefusal {
    fn lost(mutation: &Mutation<'_>, ids: Vec<RecordId>) -> Self {
        let why = ids.first().map(lost).unwrap_or_default();
        Self::Lost(ids, unavailable(mutation, &why))
    }

    pub(super) fn into_fault(self, mutation: &Mutation<'_>) -> Fault {
        match self {
            Self::Finally(fault) | Self::Decided(fault) | Self::OfEpoch(_, fault) | Self::Lost(_, fault) => {
                fault
            }
            Self::Behind(_) => unavailable(mutation, "others change the same all the time"),
        }
    }
}

impl Registry {
    /// Refuses to decide about an object that is not what the caller expects, as far as this daemon knows. What the
    /// store says counts: a view that is behind would name a version that is the actual one no more, or refuse one that
    /// the caller has read elsewhere.
    pub(super) async fn refuse_unexpected(
        &self,
        mutation: &Mutation<'_>,
        epoch: Epoch,
        shown: UnexpectedObject,
    ) -> MutationRefusal {
        let UnexpectedObject { wanted, record } = shown;
        let id = &mutation.object;
        if record.is_none() && self.awaits(id) {
            return match mutation.expected {
                // Versions begin anew with each epoch.
                Some(IfMatch::Version(_)) => MutationRefusal::Finally(epoch_changed(mutation)),
                Some(IfMatch::Exists) | None => MutationRefusal::lost(mutation, vec![id.clone()]),
            };
        }
        let version = self.view().version_of(record.as_deref(), id);
        let asked = CommitPlan::read_in(epoch).expect([(id.clone(), version)]);
        match self.attempt(&DaemonAct { within: RECALL_TIMEOUT, ..mutation.act() }, asked).await {
            Ok(_) => {
                let fault = conflict_fault(mutation, wanted, version);
                MutationRefusal::Finally(match record {
                    Some(record) => fault.detail("lastWriterId", &record.record.writer),
                    None => fault,
                })
            }
            Err(conflict @ CommitError::Conflict { actual, .. }) if is_met(mutation.expected, actual) => {
                MutationRefusal::Behind(conflict)
            }
            Err(CommitError::Conflict { actual, .. }) => {
                MutationRefusal::Finally(conflict_fault(mutation, wanted, actual))
            }
            // Nothing was to be made.
            Err(CommitError::Store(error @ StoreError::OutcomeUnknown(_))) => {
                self.note_refusal(mutation, &error);
                MutationRefusal::Finally(unavailable(mutation, "the store cannot be reached"))
            }
            Err(error) => self.refuse_commit(mutation, epoch, &error),
        }
    }

    pub(super) fn refuse_commit(
        &self,
        mutation: &Mutation<'_>,
        epoch: Epoch,
        error: &CommitError,
    ) -> MutationRefusal {
        let fault = commit_fault(mutation, error);
        match error {
            CommitError::Store(StoreError::EpochChanged { .. }) if may_decide_again(mutation) => {
                MutationRefusal::OfEpoch(epoch, fault)
            }
            CommitError::Store(error) => {
                self.note_refusal(mutation, error);
                MutationRefusal::Finally(fault)
            }
            _ => MutationRefusal::Finally(fault),
        }
    }

    /// Waits for what has refused a mutation to pass, at most until then.
    ///
    /// # Errors
    /// What the caller is told when it has not.
    pub(super) async fn pass(
        &self,
        mutation: &Mutation<'_>,
        refused: MutationRefusal,
        until: Instant,
    ) -> Result<(), Fault> {
        let (passed, fault) = match refused {
            MutationRefusal::Finally(fault) | MutationRefusal::Decided(fault) => (false, fault),
            MutationRefusal::Behind(conflict) => {
                let fault = unavailable(mutation, "this daemon is behind the store");
                (self.catch_up(&conflict, until).await, fault)
            }
            MutationRefusal::OfEpoch(epoch, fault) => (self.left(epoch, until).await, fault),
            MutationRefusal::Lost(ids, fault) => (self.come_back(&ids, until).await, fault),
        };
        if passed { Ok(()) } else { Err(fault) }
    }
}

/// An object that is not what the caller expects.
pub(super) struct UnexpectedObject {
    wanted: Version,
    record: Option<Arc<ViewRecord>>,
}

/// The object of a mutation, unless it is what the caller expects.
pub(super) fn unexpected(mutation: &Mutation<'_>, reader: &DecisionReader<'_>) -> Option<UnexpectedObject> {
    let expected = mutation.expected?;
    let record = reader.get(&mutation.object);
    let actual = record.as_ref().map_or(Version(0), |record| record.record.version);
    let wanted = match expected {
        IfMatch::Version(version) => Version(version),
        // Any version would do, and the first is the least there can be.
        IfMatch::Exists => Version(1),
    };
    (!is_met(Some(expected), actual)).then_some(UnexpectedObject { wanted, record })
}

fn is_met(expected: Option<IfMatch>, actual: Version) -> bool {
    match expected {
        None => true,
        Some(IfMatch::Exists) => actual > Version(0),
        Some(IfMatch::Version(version)) => actual.0 == version,
    }
}

/// Refusal of a mutation by its decision: what that has not found may be about to be there again.
pub(super) fn refuse_decided(
    mutation: &Mutation<'_>,
    reader: &DecisionReader<'_>,
    refusal: Fault,
) -> MutationRefusal {
    let lost = if refusal.code == Code::NotFound { reader.awaited() } else { Vec::new() };
    if !lost.is_empty() {
        return MutationRefusal::lost(mutation, lost);
    }
    if is_of_state(refusal.code) {
        MutationRefusal::Decided(refusal)
    } else {
        MutationRefusal::Finally(refusal)
    }
}

/// Instant until which a mutation waits for what has refused it to pass.
pub(super) fn patience(mutation: &Mutation<'_>) -> Instant {
    let patient = Instant::now() + PASS_WAIT;
    let ends = mutation.caller.deadline.map(|ends| ends.checked_sub(ANSWER_TIME).unwrap_or(ends));
    ends.map_or(patient, |ends| ends.min(patient))
}
