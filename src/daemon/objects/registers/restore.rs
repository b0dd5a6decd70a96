//! What a node does for its catalogue when the registry has begun a new epoch: it writes again what was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_store::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, CommitError, GroupRef, Record, RecordId, Version, Write,
};
use tracing::info;

use super::{REGISTER, traces};
use crate::core::catalogue::pieces;
use crate::daemon::objects::peers::own_session;
use crate::daemon::registry::Registry;
use crate::daemon::registry::act::{Act, Authority, Reader};
use crate::daemon::registry::follow::in_time;

/// The most registers of one commit: the session takes the last of the preconditions.
const PIECE_WRITES_MAX: usize = COMMIT_WRITES_MAX - 1;
/// How often a piece is tried when somebody else was faster.
const TRIES_MAX: usize = 5;
/// How long the traces of deleted registers may take to be read.
const TRACES_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes the registers of this node again that a new epoch has lost, and says how many. What somebody has
/// written or deleted in the new epoch is left as it is.
///
/// # Errors
/// Those of the store; what was restored by then is, and the rest is when it is called again.
pub async fn restore(registry: &Registry) -> Result<usize, CommitError> {
    let lost = registry.losses().own_of(&REGISTER);
    let session = own_session(registry).filter(|_| !lost.is_empty());
    let Some(session) = session else { return Ok(0) };
    let deleted = in_time(TRACES_TIMEOUT, traces(registry, registry.node_id())).await?;
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
        let act = Act {
            tries: TRIES_MAX,
            ..Act::new("registers.restore", [REGISTER], Authority::Session(self.session.clone()))
        };
        let decide = async |reader: Reader<'_>| {
            let (versions, writes): (Vec<_>, Vec<_>) = ids
                .iter()
                .filter_map(|id| self.write_of(id).map(|(write, version)| ((id.clone(), version), write)))
                .unzip();
            let written: Vec<RecordId> = writes.iter().map(|write| write.id().clone()).collect();
            let plan = reader.plan().expect(versions).write(writes);
            Ok::<_, CommitError>((!written.is_empty()).then_some((plan, written)))
        };
        let Some((_, written)) = self.registry.act(&act, decide).await? else { return Ok(0) };
        written.iter().for_each(|id| self.registry.losses().note_restored(id));
        Ok(written.len())
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
