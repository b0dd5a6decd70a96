//! Writing of the pool: how the store is brought to what memory wants.

use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_registry::act::{CommitPlan, DaemonAct, DecisionReader, WriteAuthority};
use omnirelay_store::{CommitError, GroupId, GroupRef, OpenedGroup, StoreError, Write};
use omnirelay_wire::reasons::{self, Reason};
use tokio::time::{Instant, timeout};

use super::memory::{PushAudit, ToWrite};
use super::{Pool, PoolSettings, Producer};
use crate::advertisements::{ADVERTISEMENT, advertisement_id};

/// How often a commit is made again whose group had ended.
const TRIES_MAX: usize = 3;
/// How long the next session is waited for: a node that is alive has it within a second.
const SESSION_WAIT: Duration = Duration::from_secs(2);

/// Entries that are written of a producer, and the group that they are bound to.
type WrittenEntries = (GroupRef, Vec<ToWrite>);

/// Outcome of a write.
pub(super) enum WriteOutcome {
    Written,
    /// It was not, or nobody knows; memory still wants it.
    Unreachable,
    /// It was not: the node has no session, or this one has ended.
    SessionOver(Option<GroupRef>),
    Refused(WriteRefusal),
}

/// Refusal of a write by the store.
pub(super) struct WriteRefusal {
    pub reason: Reason,
    pub message: String,
    /// True: whatever is written would be refused.
    pub concerns_all: bool,
}

impl Pool {
    /// As [`Pool::write`]; when the session has ended, in the next one.
    pub(super) async fn write_soon(
        &self,
        producer: &Producer,
        ids: &[String],
        trail: Option<&PushAudit>,
    ) -> WriteOutcome {
        match self.write(producer, ids, trail).await {
            WriteOutcome::SessionOver(ended) if self.next_session(ended.as_ref()).await => {
                self.write(producer, ids, trail).await
            }
            outcome => outcome,
        }
    }

    /// Waits for another session than the one that has ended. False: there is none in time, or the store is silent.
    async fn next_session(&self, ended: Option<&GroupRef>) -> bool {
        let next = self.registry.look_until_found(|view| match view.silence() {
            Some(_) => Some(false),
            // The other daemon keeps it.
            None if (self.rival)() => Some(false),
            None => self.session().is_some_and(|session| Some(&session) != ended).then_some(true),
        });
        timeout(SESSION_WAIT, next).await.unwrap_or(false)
    }

    /// Writes these entries of a producer as memory has them by then, in one commit.
    pub(super) async fn write(
        &self,
        producer: &Producer,
        ids: &[String],
        mut trail: Option<&PushAudit>,
    ) -> WriteOutcome {
        let _turn = self.turn.lock().await;
        let Some(session) = self.session() else { return WriteOutcome::SessionOver(None) };
        let authority = WriteAuthority::Session(session.clone());
        let act = DaemonAct {
            tries: TRIES_MAX,
            ..DaemonAct::new("advertisements.write", [ADVERTISEMENT], authority)
        };
        let decide = |reader: DecisionReader<'_>| {
            match reader.refusal() {
                Some(CommitError::GroupOver(over)) => {
                    let ttl = self.ttl();
                    self.memory.lock().lose_group(producer, over, ttl, Instant::now());
                }
                // It was written before, and the reply was lost.
                Some(CommitError::Conflict { .. }) => trail = None,
                _ => {}
            }
            self.plan(producer, ids, trail)
        };
        match self.registry.act(&act, decide).await {
            Ok(Some((_, Some((group, writes))))) => {
                self.memory.lock().note_written(producer, &group, &writes);
                WriteOutcome::Written
            }
            Ok(_) => WriteOutcome::Written,
            Err(CommitError::Store(error)) => outcome_of(&error),
            Err(CommitError::GroupOver(over)) if over == session => WriteOutcome::SessionOver(Some(over)),
            Err(_) => WriteOutcome::Unreachable,
        }
    }

    async fn plan(
        &self,
        producer: &Producer,
        ids: &[String],
        trail: Option<&PushAudit>,
    ) -> Result<Option<(CommitPlan, Option<WrittenEntries>)>, CommitError> {
        if !self.take_in_epoch() || self.registry.view().silence().is_some() {
            return Err(StoreError::Unavailable("it is silent".into()).into());
        }
        let group = self.group_of(producer, ids).await?;
        let written = group.map(|group| (group, self.memory.lock().to_write(producer, ids)));
        let written = written.filter(|(_, writes)| !writes.is_empty());
        if written.is_none() && trail.is_none() {
            return Ok(None);
        }
        let node = self.registry.node_id();
        let plan =
            CommitPlan::default().audit_under(trail.map(|trail| (trail.key.clone(), trail.body.clone())));
        let Some((group, writes)) = &written else { return Ok(Some((plan, None))) };
        let writes = writes.iter().map(|(register, value)| {
            let id = advertisement_id(node, register, producer.as_str());
            match value {
                Some(value) => Write::Put { id, value: value.clone(), group: Some(group.clone()) },
                None => Write::Delete { id },
            }
        });
        Ok(Some((plan.write(writes), written.clone())))
    }

    /// The group that a producer's records are bound to, opened if there is none that lives; `None`: there is nothing
    /// to write of these.
    async fn group_of(&self, producer: &Producer, ids: &[String]) -> Result<Option<GroupRef>, StoreError> {
        if self.memory.lock().to_write(producer, ids).is_empty() {
            return Ok(None);
        }
        let (view, PoolSettings { ttl, secret, .. }) = (self.registry.view(), self.settings.get());
        let known = {
            let memory = self.memory.lock();
            let shelf = memory.shelves.get(producer);
            shelf.and_then(|shelf| Some((shelf.group.clone()?, self.is_outdated(shelf, ttl))))
        };
        if let Some((known, is_outdated)) = known {
            if !view.is_live(&known) {
                self.memory.lock().lose_group(producer, &known, ttl, Instant::now());
            } else if !is_outdated {
                return Ok(Some(known));
            }
        }
        // A name of its own for each life: what the old one held is there until it is written under the new one.
        let id =
            format!("advertisements/{}/{}/{:x}", self.registry.node_id(), producer.as_str(), view.now().0);
        match self.registry.open_group(view.head().epoch, GroupId(id), ttl, &secret).await? {
            OpenedGroup::Open(group) => {
                let mut memory = self.memory.lock();
                memory.shelves.entry(producer.clone()).or_default().bind(&group, Instant::now());
                Ok(Some(group.of))
            }
            OpenedGroup::Held { until } => {
                let what = format!("the group of `{}` is held until {until}", producer.as_str());
                Err(StoreError::Unavailable(what.into()))
            }
        }
    }
}

/// Outcome that an error of the store means for what was to be written.
pub(super) fn outcome_of(error: &StoreError) -> WriteOutcome {
    let refused = |reason, concerns_all| {
        WriteOutcome::Refused(WriteRefusal { reason, message: chain(error), concerns_all })
    };
    match error {
        StoreError::Unavailable(_)
        | StoreError::Denied { .. }
        | StoreError::OutcomeUnknown(_)
        | StoreError::EpochChanged { .. } => WriteOutcome::Unreachable,
        StoreError::Full(_) => refused(reasons::STORE_FULL, true),
        StoreError::Invalid { .. } => refused(reasons::INVALID_ARGUMENT, false),
        StoreError::Incompatible { .. } => refused(reasons::STORE_INCOMPATIBLE, false),
    }
}
