//! Sessions: the groups that a daemon opens, renews and ends by itself.

use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_host::live::Live;
use omnirelay_store::{Epoch, GroupId, GroupRef, OpenGroup, OpenedGroup, Pulse, StoreError};
use tokio::time::Instant;

use super::Registry;
use super::follow::in_time;

/// How long one call of the store may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

impl Registry {
    /// Opens a group that this node renews with every heartbeat from now on. It lives for as long as `ttl` says by then, like all
    /// that this node renews. `secret` replaces a life of it that was opened with the same.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open_session(
        &self,
        id: GroupId,
        ttl: impl Into<Live<Duration>>,
        secret: &str,
    ) -> Result<OpenedGroup, StoreError> {
        let ttl = ttl.into();
        let (epoch, asked) = (self.view().head().epoch, Instant::now());
        let before = self.view().group(&id).filter(|life| self.view().now() < life.deadline);
        let opened = self.open_group(epoch, id, ttl.get(), secret).await?;
        if let OpenedGroup::Open(group) = &opened {
            self.held_groups().live_for(ttl);
            before.iter().for_each(|before| self.held_groups().note_before(before));
            self.held_groups().keep(group, epoch, asked);
        }
        Ok(opened)
    }

    /// Opens a group in this epoch that its owner sees to.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open_group(
        &self,
        epoch: Epoch,
        id: GroupId,
        ttl: Duration,
        secret: &str,
    ) -> Result<OpenedGroup, StoreError> {
        let open = OpenGroup { epoch, id, ttl, secret: secret.to_owned() };
        let opened = in_time(CALL_TIMEOUT, self.store().open_group(open)).await;
        opened.inspect_err(|error| self.view().connectivity().heed(error))
    }

    /// Renews groups that their owners see to, all at once: until when each lives, `None` for one that is over. `grace`
    /// is how long others get to be heard after a silence of all.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn renew_groups(
        &self,
        renew: Vec<GroupRef>,
        grace: Duration,
    ) -> Result<Vec<Option<Millis>>, StoreError> {
        // What moves is told by the heartbeat.
        let moved_since = Millis(u64::MAX);
        let pulse = Pulse { epoch: Some(self.view().head().epoch), renew, moved_since, grace, ttl: None };
        let beat = in_time(CALL_TIMEOUT, self.store().pulse(pulse)).await;
        Ok(beat.inspect_err(|error| self.view().connectivity().heed(error))?.renewed)
    }

    /// Ends a group now, and renews it no more.
    ///
    /// # Errors
    /// Those of the store; it ends by itself then.
    pub async fn end_group(&self, epoch: Epoch, group: GroupRef) -> Result<(), StoreError> {
        self.held_groups().drop(&group);
        in_time(CALL_TIMEOUT, self.store().close_group(epoch, group)).await.map(drop)
    }

    /// The epoch as the store says it now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn ask_epoch(&self) -> Result<Epoch, StoreError> {
        in_time(CALL_TIMEOUT, self.store().pulse(Pulse::default())).await.map(|beat| beat.epoch)
    }
}
