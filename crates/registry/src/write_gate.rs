//! The write gate: every write of records by a daemon passes it; rules may close some of them there, and a judge may decline a commit.
//!
//! A closed write is refused before the store is asked. What was on its way by then is refused by the store: whoever closes something for
//! all daemons changes a record that the open passage named as a condition. Audit records, leases and groups do not pass it: they are of
//! the cluster that writes them.

use std::sync::Arc;

use omnirelay_store::{CommitError, Epoch, Precondition, RecordId, StoreError, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::RwLock;

use crate::act::CommitPlan;
use crate::commit_judge::{CommitJudge, CommitPassage, JudgedCommit};
use crate::view::View;

/// Passage of a write through the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It is made on this condition as well, which the view has shown in this epoch: versions begin anew with each.
    Open(Epoch, Precondition),
    /// It is not made; the text says why, and what to do.
    Closed(Arc<str>),
}

/// Rule of the gate.
pub trait WriteRule: Send + Sync {
    /// Passages of the writes of an act, by its name in the audit trail, each with its write, as the view shows who may make it; those of
    /// which nothing is said are free.
    fn passages<'w>(&self, view: &View, action: &str, writes: &'w [Write]) -> Vec<(&'w Write, Passage)>;
}

/// Gate that all writes of a daemon pass. Without a rule and without a judge, writes pass as they are.
#[derive(Default)]
pub struct WriteGate {
    rules: RwLock<Vec<Arc<dyn WriteRule>>>,
    judge: RwLock<Option<Arc<dyn CommitJudge>>>,
}

/// Conditions on which an act may write what it plans.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteGateConditions {
    /// `None`: there are none.
    epoch: Option<Epoch>,
    on: Vec<Precondition>,
}

impl WriteGate {
    /// Has each write judged by this rule as well. It is kept by the registry, so that it must not keep the registry.
    pub fn add(&self, rule: Arc<dyn WriteRule>) {
        self.rules.write().push(rule);
    }

    /// Has each commit of the daemon judged before the store is asked. The judge is kept by the registry, so that it must not keep the
    /// registry.
    pub fn judge_by(&self, judge: Arc<dyn CommitJudge>) {
        *self.judge.write() = Some(judge);
    }

    /// Passage of a commit; `None`: nobody judges.
    ///
    /// # Errors
    /// [`CommitError::Declined`].
    pub(crate) async fn judge(
        &self,
        view: &View,
        commit: &JudgedCommit<'_>,
    ) -> Result<Option<Box<dyn CommitPassage>>, CommitError> {
        let judge = self.judge.read().clone();
        let Some(judge) = judge else { return Ok(None) };
        judge.judge(view, commit).await.map(Some).map_err(CommitError::Declined)
    }

    /// Conditions on which `action` may make these writes now.
    ///
    /// # Errors
    /// [`CommitError::Closed`], of the first that it may not; [`StoreError::EpochChanged`] where two conditions are of two epochs.
    pub(crate) fn conditions(
        &self,
        view: &View,
        action: &str,
        writes: &[Write],
    ) -> Result<WriteGateConditions, CommitError> {
        let mut conditions = WriteGateConditions::default();
        for rule in self.rules.read().iter() {
            for (write, passage) in rule.passages(view, action, writes) {
                match passage {
                    Passage::Open(epoch, on) => {
                        if let Some(other) = conditions.epoch.filter(|other| *other != epoch) {
                            return Err(StoreError::EpochChanged { current: other.max(epoch) }.into());
                        }
                        conditions.epoch = Some(epoch);
                        // One condition is of many writes.
                        if !conditions.on.contains(&on) {
                            conditions.on.push(on);
                        }
                    }
                    Passage::Closed(why) => return Err(CommitError::Closed { id: write.id().clone(), why }),
                }
            }
        }
        Ok(conditions)
    }

    /// Lets a plan of `action` pass, with the conditions on which its records may be written.
    ///
    /// # Errors
    /// [`CommitError::Closed`], of the first record that it may not write; [`StoreError::EpochChanged`] where the plan and the
    /// conditions are of two epochs.
    pub(crate) fn pass(
        &self,
        view: &View,
        action: &str,
        mut plan: CommitPlan,
    ) -> Result<(CommitPlan, WriteGateConditions), CommitError> {
        let conditions = self.conditions(view, action, &plan.writes)?;
        let Some(epoch) = conditions.epoch else { return Ok((plan, conditions)) };
        match plan.epoch {
            Some(read) if read != epoch => Err(StoreError::EpochChanged { current: read.max(epoch) }.into()),
            Some(_) | None => {
                plan.epoch = Some(epoch);
                Ok((plan.require(conditions.on.iter().cloned()), conditions))
            }
        }
    }
}

impl WriteGateConditions {
    /// Refusal of a commit as whoever planned it is to see it: that a condition of the gate does not hold says nothing of what was
    /// read.
    pub(crate) fn refusal(&self, error: CommitError) -> CommitError {
        let is_of_gate = |id: &RecordId| {
            self.on.iter().any(|on| matches!(on, Precondition::Version { id: of, .. } if of == id))
        };
        match &error {
            CommitError::Conflict { id, .. } if is_of_gate(id) => {
                let why = "who may write it has just changed; try again".into();
                CommitError::Closed { id: id.clone(), why }
            }
            _ => error,
        }
    }
}

/// The fault of what did not pass the gate, as the caller of `action` is told; `None`: the commit was refused for something else.
pub fn gate_fault(action: &str, error: &CommitError) -> Option<Fault> {
    match error {
        CommitError::Closed { id, why } => {
            let message = format!("cannot carry out {action}: {id} is not written here: {why}");
            Some(Fault::new(reasons::NOT_ACTIVE, message))
        }
        CommitError::Declined(fault) => Some(Fault::clone(fault)),
        CommitError::Conflict { .. }
        | CommitError::GroupOver(_)
        | CommitError::GroupLive { .. }
        | CommitError::Fenced { .. }
        | CommitError::LeaseHeld { .. }
        | CommitError::IdempotencyReused
        | CommitError::KindDenied { .. }
        | CommitError::Store(_) => None,
    }
}
