//! The registry: commits, the view, watches and sessions, on any store.

pub mod backoff;
pub mod cursor;
pub mod follow;
pub mod mutate;
pub mod view;
pub mod watch;

#[cfg(test)]
mod registry_test;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::daemon::store::{
    Commit, CommitError, Committed, GroupRef, Kind, LogEntry, Retention, Revision, Store,
};
use crate::wire::fault::{Code, Fault};
use cursor::Cursor;
use view::{Applied, View};

/// How long a commit's caller waits for the view to show it.
const OWN_COMMIT_WAIT: Duration = Duration::from_secs(2);

/// One daemon's registry.
pub struct Registry {
    node_id: String,
    store: Arc<dyn Store>,
    view: View,
    own_groups: Mutex<Vec<GroupRef>>,
}

impl Registry {
    /// A registry of `node_id` over a store, mirroring these kinds. Nothing runs until
    /// [`follow::follow_log`] and [`follow::beat_heart`] do.
    pub fn new(node_id: impl Into<String>, store: Arc<dyn Store>, mirrored: &'static [Kind]) -> Self {
        Self { node_id: node_id.into(), store, view: View::new(mirrored), own_groups: Mutex::default() }
    }

    /// Has watches told of these kinds too, whose records the view does not hold.
    #[must_use]
    pub fn following(self, followed: &'static [Kind]) -> Self {
        Self { view: self.view.following(followed), ..self }
    }

    /// The node whose daemon this is.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// The groups this node renews.
    pub fn own_groups(&self) -> Vec<GroupRef> {
        self.own_groups.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews this life of a group from now on, in place of an older one.
    pub fn keep_group(&self, group: GroupRef) {
        let mut own = self.own_groups.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|kept| kept.id != group.id);
        own.push(group);
    }

    /// Renews this life of a group no more.
    pub fn drop_group(&self, group: &GroupRef) {
        self.own_groups.lock().unwrap_or_else(PoisonError::into_inner).retain(|kept| kept != group);
    }

    /// Commits and shows the result in this daemon's view before it returns.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let committed = self.store.commit(commit).await?;
        if let Committed::Done(entry) = &committed {
            self.show(entry).await;
        }
        Ok(committed)
    }

    async fn show(&self, entry: &LogEntry) {
        if self.view.apply(entry) == Applied::Gap {
            // Others' commits before it are still on their way.
            let shown = follow::wait_for(&self.view, entry.revision);
            let _ = tokio::time::timeout(OWN_COMMIT_WAIT, shown).await;
        }
    }

    /// Waits until the view has loaded, and has seen `min_revision` if one is given.
    ///
    /// # Errors
    /// `EPOCH_CHANGED` when the cursor is of another epoch, `INVALID_CURSOR` when it is none.
    /// It waits without limit: the caller's deadline ends it.
    pub async fn ready_for(&self, min_revision: &str) -> Result<(), Fault> {
        let cursor = parse_cursor(min_revision)?.unwrap_or_default();
        let head = self.view.head();
        if head.caught_up && (min_revision.is_empty() || cursor.part == 0 && head.revision >= cursor.revision)
        {
            return self.check_epoch(min_revision, cursor);
        }
        follow::wait_for(&self.view, Revision(0)).await;
        self.check_epoch(min_revision, cursor)?;
        // A cursor inside a commit is behind it only once that commit is there.
        let behind = Revision(cursor.revision.0.saturating_add(u64::from(cursor.part > 0)));
        follow::wait_for(&self.view, behind).await;
        self.check_epoch(min_revision, cursor)
    }

    fn check_epoch(&self, min_revision: &str, cursor: Cursor) -> Result<(), Fault> {
        let current = self.view.head().epoch;
        if min_revision.is_empty() || cursor.epoch == current {
            return Ok(());
        }
        let message = format!("the registry has begun a new epoch since cursor `{min_revision}`");
        Err(Fault::new(Code::Aborted, "EPOCH_CHANGED", message)
            .hint("read again without a minimum revision")
            .detail("epoch", format!("{:x}", current.0)))
    }

    /// Does the store's housekeeping at this pace for ever.
    pub async fn keep_house(self: Arc<Self>, keep: Retention, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            loop {
                match self.store.housekeep(self.view.head().epoch, keep).await {
                    Ok(done) if done.more => tokio::task::yield_now().await,
                    Ok(_) => break,
                    Err(error) => {
                        tracing::debug!(error = %follow::chain(&error), "housekeeping failed");
                        break;
                    }
                }
            }
            self.view.forget_groups(keep.tombstone_age);
        }
    }
}

/// A cursor from a request; empty is none.
///
/// # Errors
/// `INVALID_CURSOR` when the text is no cursor.
pub fn parse_cursor(text: &str) -> Result<Option<Cursor>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<Cursor>() {
        Ok(cursor) => Ok(Some(cursor)),
        Err(error) => Err(Fault::new(Code::InvalidArgument, "INVALID_CURSOR", error.to_string())
            .hint("give a cursor as an answer's `cursor` field or an event's id gave it, or none")),
    }
}
