//! The write gate: every write of records by a daemon passes it; kinds of records may be closed there, and a judge may decline a commit.
//!
//! A closed kind is refused before the store is asked. What was on its way by then is refused by the store: whoever closes a kind for
//! all daemons changes a record that the open passage named as a condition. Audit records, leases and groups do not pass it: they are of
//! the cluster that writes them. A kind that is closed until more is known is closed where its capability is mounted: nothing is
//! written before.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_store::{CommitError, Epoch, Precondition, RecordId, RecordKind, StoreError, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::RwLock;

use crate::act::CommitPlan;
use crate::commit_judge::{CommitJudge, CommitPassage, JudgedCommit};
use crate::view::View;

/// Selection of records: those of a kind whose key begins so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSelector {
    pub kind: RecordKind,
    /// Empty: all of the kind.
    pub prefix: Arc<str>,
}

impl RecordSelector {
    /// Selects every record of a kind.
    pub fn all(kind: RecordKind) -> Self {
        Self { kind, prefix: "".into() }
    }

    /// Says whether a record is among the selected.
    pub fn selects(&self, id: &RecordId) -> bool {
        id.kind == self.kind && id.key.starts_with(&*self.prefix)
    }
}

/// Passage of writes through the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// They are made on these conditions as well, which are of this epoch: versions begin anew with each.
    Open(Epoch, Vec<Precondition>),
    /// None is made; the text says why, and what to do.
    Closed(Arc<str>),
}

/// Rule of the gate for some records.
#[derive(Clone, Debug)]
pub struct GateRule {
    pub selectors: Vec<RecordSelector>,
    pub passage: Passage,
    /// Acts, by their names in the audit trail, that pass as if there were no such rule, as one that follows another cluster.
    pub exempt: &'static [&'static str],
}

/// Gate that all writes of a daemon pass. Without a rule for them and without a judge, writes pass as they are.
#[derive(Default)]
pub struct WriteGate {
    rules: RwLock<BTreeMap<Arc<str>, GateRule>>,
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
    /// Sets the rule of this name, in the place of what it said before.
    pub fn set(&self, name: impl Into<Arc<str>>, rule: GateRule) {
        self.rules.write().insert(name.into(), rule);
    }

    /// Forgets the rule of this name.
    pub fn remove(&self, name: &str) {
        self.rules.write().remove(name);
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

    /// Conditions on which `action` may write these records now.
    ///
    /// # Errors
    /// [`CommitError::Closed`], of the first that it may not; [`StoreError::EpochChanged`] where two conditions are of two epochs.
    pub(crate) fn conditions<'a>(
        &self,
        action: &str,
        ids: impl Iterator<Item = &'a RecordId> + Clone,
    ) -> Result<WriteGateConditions, CommitError> {
        let mut conditions = WriteGateConditions::default();
        for GateRule { selectors, passage, exempt } in self.rules.read().values() {
            let is_selected = |id: &&RecordId| selectors.iter().any(|selector| selector.selects(id));
            match (ids.clone().find(is_selected), passage) {
                (None, _) => {}
                _ if exempt.contains(&action) => {}
                (Some(_), Passage::Open(epoch, on)) => {
                    if let Some(other) = conditions.epoch.filter(|other| other != epoch) {
                        return Err(StoreError::EpochChanged { current: other.max(*epoch) }.into());
                    }
                    conditions.epoch = Some(*epoch);
                    conditions.on.extend(on.iter().cloned());
                }
                (Some(id), Passage::Closed(why)) => {
                    return Err(CommitError::Closed { id: id.clone(), why: why.clone() });
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
        action: &str,
        mut plan: CommitPlan,
    ) -> Result<(CommitPlan, WriteGateConditions), CommitError> {
        let conditions = self.conditions(action, plan.writes.iter().map(Write::id))?;
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
