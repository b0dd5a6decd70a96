//! What a node does for its catalogue when the registry has begun a new epoch: it writes again what was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_store::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, Commit, CommitError, GroupRef, Precondition, Record, RecordId,
    Version, Write,
};
use tracing::info;

use super::{REGISTER, traces};
use crate::core::catalogue::pieces;
use crate::daemon::objects::peers::session_id;
use crate::daemon::registry::Registry;
use crate::daemon::registry::follow::in_time;

/// The most registers of one commit: the session takes the last of the preconditions.
const PIECE_WRITES_MAX: usize = COMMIT_WRITES_MAX - 1;
/// How often a piece is tried when somebody else was faster, and how long apart.
const TRIES_MAX: usize = 5;
const AGAIN: Duration = Duration::from_millis(50);
/// How long one call of the store may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes the registers of this node again that a new epoch has lost, and says how many. What somebody has
/// written or deleted in the new epoch is left as it is.
///
/// # Errors
/// Those of the store; what was restored by then is, and the rest is when it is called again.
pub async fn restore(registry: &Registry) -> Result<usize, CommitError> {
    let lost = registry.losses().own_of(&REGISTER);
    let session = registry.own().life_of(&session_id(registry.node_id()));
    let Some(session) = session.filter(|_| !lost.is_empty()) else { return Ok(0) };
    let deleted = in_time(CALL_TIMEOUT * 5, traces(registry, registry.node_id())).await?;
    let deleted = deleted.into_iter().map(|trace| (trace.id.clone(), trace)).collect();
    let restoring = Restoring { registry, session, deleted };
    let sizes: Vec<usize> = lost.iter().map(|id| restoring.size(id)).collect();
    let mut restored = 0;
    for piece in pieces(&sizes, PIECE_WRITES_MAX, COMMIT_BYTES_MAX) {
        restored += restoring.piece(&lost[piece]).await?;
    }
    if restored > 0 {
        info!(peer = registry.node_id(), registers = restored, "lost registers restored");
    }
    Ok(restored)
}

struct Restoring<'a> {
    registry: &'a Registry,
    session: GroupRef,
    /// The traces of deleted registers, of whatever epoch.
    deleted: BTreeMap<RecordId, Record>,
}

impl Restoring<'_> {
    /// The bytes of a register that was lost, and of what stands in its place.
    fn size(&self, id: &RecordId) -> usize {
        let view = self.registry.view();
        let lost = self.registry.losses().of(view, id).map_or(0, |lost| lost.record.record.value.len());
        lost + view.get(id).map_or(0, |found| found.record.value.len())
    }

    /// Restores some registers in one commit.
    async fn piece(&self, ids: &[RecordId]) -> Result<usize, CommitError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let commit = self.commit_of(ids);
            let count = commit.writes.len();
            if count == 0 {
                return Ok(0);
            }
            let written: Vec<RecordId> = commit.writes.iter().map(|write| write.id().clone()).collect();
            match in_time(CALL_TIMEOUT, self.registry.commit(commit)).await {
                Ok(_) => {
                    written.iter().for_each(|id| self.registry.losses().note_restored(id));
                    return Ok(count);
                }
                // Somebody has written one of them; the view is about to show it.
                Err(CommitError::Conflict { .. }) if tries < TRIES_MAX => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// The commit that restores those of `ids` that nobody has written or deleted in the new epoch.
    fn commit_of(&self, ids: &[RecordId]) -> Commit {
        let mut commit = Commit {
            epoch: self.registry.view().head().epoch,
            preconditions: vec![Precondition::GroupLive(self.session.clone())],
            writer: self.registry.node_id().to_owned(),
            ..Commit::default()
        };
        for id in ids {
            if let Some((write, version)) = self.write_of(id) {
                commit.preconditions.push(Precondition::Version { id: id.clone(), version });
                commit.writes.push(write);
            }
        }
        commit
    }

    /// The write that restores a register, and the version it replaces; `None` when it is not to be.
    fn write_of(&self, id: &RecordId) -> Option<(Write, Version)> {
        let (view, losses) = (self.registry.view(), self.registry.losses());
        let lost = losses.of(view, id)?;
        let found = view.get(id);
        let present = found.as_ref().map(|found| &found.record);
        let since = present.or_else(|| self.deleted.get(id)).is_some_and(|copy| lost.is_older_than(copy));
        if since {
            losses.note_superseded(id);
            return None;
        }
        let value = lost.record.record.value.clone();
        Some((Write::Put { id: id.clone(), value, group: None }, present.map_or(Version(0), |it| it.version)))
    }
}
