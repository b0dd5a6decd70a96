//! The door for what a daemon changes by itself: read, decide, commit, and decide again when somebody was faster.
//!
//! [`Registry::mutate`] is the door for callers, and commits through this one: whatever a daemon writes has its kinds
//! checked, carries what its right to write rests on, has its audit record in the same commit, and ends in time.

mod own_change;
mod plan;
mod reader;

use std::time::Duration;

use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupRef, LeaseFence, Precondition, RecordId, RecordKind,
    StoreError, Version, Write,
};
use tokio::time::Instant;
use tracing::error;

use super::Registry;
use super::audit_record;
use super::commit_judge::{CommitPassage, JudgedCommit};
use super::completeness::lost;
use super::epoch_loss::RESTORE;
use super::follow::SEE_ALL_MAX;
pub use own_change::{OwnChange, put};
pub use plan::CommitPlan;
pub use reader::DecisionReader;

/// How long one commit may take unless an act says otherwise.
const WITHIN: Duration = Duration::from_secs(2);

/// Authority of a write: what the right to it rests on. Once it is gone the store refuses the write, however late it
/// comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAuthority {
    /// Nothing: a caller's change, which needs no leader, or a node's own trail, which outlives its session.
    Unfenced,
    /// That this session of the node lives.
    Session(GroupRef),
    /// That the node leads a scope, by this lease.
    Leader(LeaseFence),
}

/// Something that a daemon does.
#[derive(Clone, Debug)]
pub struct DaemonAct {
    /// `<object>.<verb>`, as the audit trail calls it.
    pub action: &'static str,
    /// What it may write, besides audit records.
    pub kinds: Vec<RecordKind>,
    pub authority: WriteAuthority,
    /// How often [`Registry::act`] decides at most.
    pub tries: usize,
    /// How long one commit may take; nobody knows then what became of it.
    pub within: Duration,
}

impl DaemonAct {
    /// An act that is decided once and has two seconds.
    pub fn new(
        action: &'static str,
        kinds: impl IntoIterator<Item = RecordKind>,
        authority: WriteAuthority,
    ) -> Self {
        let kinds = kinds.into_iter().collect();
        Self { action, kinds, authority, tries: 1, within: WITHIN }
    }

    /// Whether it is worth deciding anew: what was read has changed meanwhile, and not what the act rests on.
    fn may_decide_again(&self, refusal: &CommitError) -> bool {
        match (refusal, &self.authority) {
            (CommitError::Conflict { .. }, _) => true,
            (CommitError::GroupOver(over), WriteAuthority::Session(session)) => over != session,
            (CommitError::GroupOver(_), WriteAuthority::Unfenced | WriteAuthority::Leader(_)) => true,
            (
                CommitError::GroupLive { .. }
                | CommitError::Fenced { .. }
                | CommitError::LeaseHeld { .. }
                | CommitError::IdempotencyReused
                | CommitError::KindDenied { .. }
                | CommitError::Closed { .. }
                | CommitError::Declined(_)
                | CommitError::Store(_),
                _,
            ) => false,
        }
    }
}

impl Registry {
    /// Carries out an act: commits what `decide` plans, on the condition that all that it has read is as it was, and
    /// decides again when it is not. Answers what became of it, and what `decide` said besides; `None` when there was
    /// nothing to do.
    ///
    /// # Errors
    /// Those of `decide`; of the store, [`StoreError::OutcomeUnknown`] among them: it may have been done.
    pub async fn act<'a, T, E: From<CommitError>, F>(
        &'a self,
        act: &DaemonAct,
        mut decide: impl FnMut(DecisionReader<'a>) -> F,
    ) -> Result<Option<(CommitOutcome, T)>, E>
    where
        F: Future<Output = Result<Option<(CommitPlan, T)>, E>>,
    {
        let mut refusal = None;
        for tried in 1.. {
            let reader = DecisionReader::after(self.view(), refusal.take());
            let Some((plan, besides)) = decide(reader).await? else { break };
            let refused = match self.attempt(act, plan).await {
                Ok(committed) => return Ok(Some((committed, besides))),
                Err(refused) => refused,
            };
            if tried >= act.tries || !act.may_decide_again(&refused) {
                return Err(refused.into());
            }
            if let CommitError::Conflict { id, .. } = &refused
                && self.view().mirrored().contains(&id.kind)
                && !self.catch_up(&refused, Instant::now() + SEE_ALL_MAX).await
            {
                return Err(refused.into());
            }
            refusal = Some(refused);
        }
        Ok(None)
    }

    /// Commits what has been decided, once: for whoever sees by itself to what is refused.
    ///
    /// # Errors
    /// Those of the store, [`StoreError::OutcomeUnknown`] among them: it may have been done.
    pub async fn attempt(&self, act: &DaemonAct, plan: CommitPlan) -> Result<CommitOutcome, CommitError> {
        plan.check_kinds(act)?;
        self.check_not_awaited(act, &plan)?;
        let (plan, conditions) = self.write_gate.pass(self.view(), act.action, plan)?;
        let plan = self.signed(plan).map_err(|refused| StoreError::Denied { what: refused.message })?;
        let judged = JudgedCommit {
            action: act.action,
            epoch: plan.epoch.unwrap_or_else(|| self.view().head().epoch),
            writes: &plan.writes,
        };
        let passage = self.write_gate.judge(self.view(), &judged).await?;
        let commit = self.commit_of(act, plan);
        let epoch = commit.epoch;
        let committed = self.commit_within(act.within, commit).await;
        if let Some(passage) = passage {
            tell(passage, epoch, &committed);
        }
        committed.map_err(|error| conditions.refusal(error))
    }

    /// That nothing is written in the place of what is about to be put back.
    fn check_not_awaited(&self, act: &DaemonAct, plan: &CommitPlan) -> Result<(), StoreError> {
        let is_awaited = |id: &&RecordId| self.losses().awaits_of_others(self.view(), id);
        // Nor is anything decided by that it is not there.
        let absent = plan.preconditions.iter().filter_map(|of| match of {
            Precondition::Version { id, version: Version(0) } => Some(id),
            _ => None,
        });
        match plan.writes.iter().map(Write::id).chain(absent).find(is_awaited) {
            Some(id) if act.action != RESTORE => Err(StoreError::Unavailable(lost(id).into())),
            Some(_) | None => Ok(()),
        }
    }

    fn commit_of(&self, act: &DaemonAct, plan: CommitPlan) -> Commit {
        let CommitPlan { epoch, preconditions, mut writes, audits, leases, idempotency } = plan;
        let (fence, session) = match &act.authority {
            WriteAuthority::Unfenced => (None, None),
            WriteAuthority::Session(session) => (None, Some(Precondition::GroupLive(session.clone()))),
            WriteAuthority::Leader(fence) => (Some(fence.clone()), None),
        };
        let (now, mac) = (self.view().now(), self.audit_mac());
        writes.extend(audits.into_iter().map(|(key, body)| match key {
            Some(key) => audit_record::write_under(key, body, mac),
            None => audit_record::write(now, body, mac),
        }));
        Commit {
            epoch: epoch.unwrap_or_else(|| self.view().head().epoch),
            preconditions: session.into_iter().chain(preconditions).collect(),
            writes,
            leases,
            fence,
            idempotency,
            writer: self.writer(),
        }
    }
}

/// Tells whoever let a commit pass what became of it, as far as it is known.
fn tell(passage: Box<dyn CommitPassage>, epoch: Epoch, committed: &Result<CommitOutcome, CommitError>) {
    match committed {
        Ok(CommitOutcome::Done(entry)) => passage.made(epoch, entry.revision),
        Err(CommitError::Store(StoreError::OutcomeUnknown(_))) => drop(passage),
        Ok(CommitOutcome::Replayed { .. }) | Err(_) => passage.not_made(),
    }
}

impl CommitPlan {
    /// Checks that the plan writes no record under another's kind, which is a fault of the program.
    pub(super) fn check_kinds(&self, act: &DaemonAct) -> Result<(), StoreError> {
        let Some(foreign) = self.foreign_to(&act.kinds) else { return Ok(()) };
        error!(action = act.action, record = %foreign, "a write under another's kind");
        Err(StoreError::Invalid { what: format!("`{}` writes no `{}`", act.action, foreign.kind) })
    }
}
