//! How the store is brought to what memory wants.

use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_store::{
    Commit, CommitError, GroupId, GroupRef, OpenGroup, Opened, Precondition, StoreError, Version, Write,
};
use tokio::time::Instant;

use super::memory::{ToWrite, Trail};
use super::{Pool, Producer};
use crate::daemon::audit;
use crate::daemon::objects::advertisements::advertisement_id;
use crate::daemon::registry::follow;

/// How long one call of the store may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a commit is made again whose group had ended.
const TRIES_MAX: usize = 3;

/// What became of a write.
pub(super) enum Outcome {
    Written,
    /// It was not, or nobody knows; memory still wants it.
    Unreachable,
    Refused(Refused),
}

/// Why the store refused.
pub(super) struct Refused {
    pub reason: &'static str,
    pub message: String,
    /// True: whatever is written would be refused.
    pub concerns_all: bool,
}

/// An answer of the store, or that it took too long.
pub(super) async fn in_time<T, E: From<StoreError>>(
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    follow::in_time(CALL_TIMEOUT, call).await
}

impl Pool {
    /// Writes these entries of a producer as memory has them by then, in one commit.
    pub(super) async fn write(
        &self,
        producer: &Producer,
        ids: &[String],
        mut trail: Option<&Trail>,
    ) -> Outcome {
        let _turn = self.turn.lock().await;
        for _ in 0..TRIES_MAX {
            if !self.take_in_epoch() || self.registry.view().silence().is_some() {
                return Outcome::Unreachable;
            }
            let Some(session) = self.session() else { return Outcome::Unreachable };
            let (group, writes) = match self.group_of(producer, ids).await {
                Ok(Some(group)) => {
                    let writes = self.lock().to_write(producer, ids);
                    (Some(group), writes)
                }
                Ok(None) => (None, Vec::new()),
                Err(error) => return outcome_of(&error),
            };
            if writes.is_empty() && trail.is_none() {
                return Outcome::Written;
            }
            let commit = self.commit_of(producer, &writes, &session, group.as_ref(), trail);
            match in_time(self.registry.commit(commit)).await {
                Ok(_) => {
                    if let Some(group) = &group {
                        self.lock().note_written(producer, group, &writes);
                    }
                    return Outcome::Written;
                }
                Err(CommitError::GroupOver(over)) if group.as_ref() == Some(&over) => {
                    self.lock().lose_group(producer, &over, self.settings.ttl);
                }
                // It was written before, and the reply was lost.
                Err(CommitError::Conflict { .. }) if trail.is_some() => trail = None,
                Err(CommitError::Store(error)) => return outcome_of(&error),
                // The session has ended; the next one will do.
                Err(_) => return Outcome::Unreachable,
            }
        }
        Outcome::Unreachable
    }

    fn commit_of(
        &self,
        producer: &Producer,
        writes: &[ToWrite],
        session: &GroupRef,
        group: Option<&GroupRef>,
        trail: Option<&Trail>,
    ) -> Commit {
        let (node, view) = (self.registry.node_id(), self.registry.view());
        let write = |(register, value): &ToWrite| {
            let id = advertisement_id(node, register, producer.as_str());
            match value {
                Some(value) => Write::Put { id, value: value.clone(), group: group.cloned() },
                None => Write::Delete { id },
            }
        };
        let mac = self.registry.audit_mac();
        let audit = trail.map(|trail| audit::write_under(trail.key.clone(), &trail.body, mac));
        let anew =
            audit.iter().map(|write| Precondition::Version { id: write.id().clone(), version: Version(0) });
        let live = Precondition::GroupLive(session.clone());
        Commit {
            epoch: view.head().epoch,
            preconditions: std::iter::once(live).chain(anew).collect(),
            writes: writes.iter().map(write).chain(audit.clone()).collect(),
            writer: node.to_owned(),
            ..Commit::default()
        }
    }

    /// The group that a producer's records are bound to, opened if there is none that lives; `None`: there is nothing
    /// to write of these.
    async fn group_of(&self, producer: &Producer, ids: &[String]) -> Result<Option<GroupRef>, StoreError> {
        if self.lock().to_write(producer, ids).is_empty() {
            return Ok(None);
        }
        let view = self.registry.view();
        let known = self.lock().shelves.get(producer).and_then(|shelf| shelf.group.clone());
        if let Some(known) = known {
            if view.is_live(&known) {
                return Ok(Some(known));
            }
            self.lock().lose_group(producer, &known, self.settings.ttl);
        }
        // A name of its own for each life: what the old one held is there until it is written under the new one.
        let id =
            format!("advertisements/{}/{}/{:x}", self.registry.node_id(), producer.as_str(), view.now().0);
        let open = OpenGroup {
            epoch: view.head().epoch,
            id: GroupId(id),
            ttl: self.settings.ttl,
            secret: self.settings.secret.clone(),
        };
        match in_time(self.registry.store().open_group(open)).await? {
            Opened::Open(group) => {
                let mut memory = self.lock();
                let shelf = memory.shelves.entry(producer.clone()).or_default();
                shelf.group = Some(group.of.clone());
                shelf.refreshed = Some(Instant::now());
                shelf.deadline = Some(group.deadline);
                Ok(Some(group.of))
            }
            Opened::Held { until } => {
                let what = format!("the group of `{}` is held until {until}", producer.as_str());
                Err(StoreError::Unavailable(what.into()))
            }
        }
    }
}

/// What an error of the store means for what was to be written.
pub(super) fn outcome_of(error: &StoreError) -> Outcome {
    let refused =
        |reason, concerns_all| Outcome::Refused(Refused { reason, message: chain(error), concerns_all });
    match error {
        StoreError::Unavailable(_)
        | StoreError::Denied { .. }
        | StoreError::OutcomeUnknown(_)
        | StoreError::EpochChanged { .. } => Outcome::Unreachable,
        StoreError::Full(_) => refused("STORE_FULL", true),
        StoreError::Invalid { .. } => refused("INVALID_ARGUMENT", false),
        StoreError::Incompatible { .. } => refused("STORE_INCOMPATIBLE", false),
    }
}
