//! Completeness: whether the view is the registry as it is now, and waiting for what is about to be there.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_store::{Epoch, RecordId};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::time::{Instant, timeout_at};

use super::Registry;
use super::follow::SEE_ALL_MAX;
use super::refusal::is_of_state;
use super::view::{View, ViewRecord};

/// How long whoever asks for a record waits that a new epoch has lost.
const RESTORE_WAIT: Duration = Duration::from_secs(2);

impl Registry {
    /// Whether answers are not of this moment: the store is silent, or a new epoch has lost what is about to be there
    /// again.
    pub fn is_stale(&self) -> bool {
        self.view().silence().is_some() || self.view().is_restoring()
    }

    /// Whether a record that a new epoch has lost is about to be there again.
    pub fn awaits(&self, id: &RecordId) -> bool {
        self.view().awaits(id) || self.losses().awaits(self.view(), id)
    }

    /// A record; `None` if there is none, as the store has confirmed since this was called, unless it does not answer.
    /// One that a new epoch has lost, and that is about to be there again, is waited for.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` when it has not come meanwhile, and still may.
    pub async fn find(&self, id: &RecordId) -> Result<Option<Arc<ViewRecord>>, Fault> {
        let asked = Instant::now();
        if let Some(found) = self.view().get(id) {
            return Ok(Some(found));
        }
        if !self.awaits(id) {
            self.confirm_since(asked, asked + SEE_ALL_MAX).await;
            let found = self.view().get(id);
            if found.is_some() || !self.awaits(id) {
                return Ok(found);
            }
        }
        if !self.come_back(std::slice::from_ref(id), Instant::now() + RESTORE_WAIT).await {
            return Err(Fault::new(reasons::STORE_UNAVAILABLE, format!("cannot say yet: {}", lost(id)))
                .hint("try again; `history` of `/readyz` says what was lost and what is restored"));
        }
        Ok(self.view().get(id))
    }

    /// Looks up what `read` finds in the view, as [`Registry::look`] does. A refusal by what the view shows is told
    /// once the store has confirmed the view, unless it does not answer.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn look_confirmed<T>(&self, read: impl Fn(&View) -> Result<T, Fault>) -> Result<T, Fault> {
        let asked = Instant::now();
        match self.look(&read).await {
            Err(refusal) if is_of_state(refusal.code) => {
                self.confirm_since(asked, asked + SEE_ALL_MAX).await;
                self.look(&read).await
            }
            read => read,
        }
    }

    /// Waits at most until then for records that are about to be there again; whether none is awaited any more.
    pub(super) async fn come_back(&self, ids: &[RecordId], until: Instant) -> bool {
        let back = self.look_until_found(|_| (!ids.iter().any(|id| self.awaits(id))).then_some(()));
        timeout_at(until, back).await.is_ok()
    }

    /// Waits at most until then for the view to be of another epoch than this one; whether it is.
    pub(super) async fn left(&self, epoch: Epoch, until: Instant) -> bool {
        let mut head = self.view().follow_head();
        let left = head.wait_for(|head| head.caught_up && head.epoch != epoch);
        timeout_at(until, left).await.is_ok()
    }
}

/// Message about a record that is about to be there again.
pub(super) fn lost(id: &RecordId) -> String {
    format!("the registry has begun a new epoch without {id}, which is about to be restored")
}
