//! Records with a TTL: they live as long as somebody speaks for them, each in a group of its own.
//!
//! A life is a group named after the record. A later life of the same record may be in another group, so that one
//! that the store spares after an outage is there until the new one is written: nobody sees it gone in between.

mod error;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_store::{
    CommitError, Epoch, Group, GroupId, GroupRef, OpenedGroup, Precondition, RecordId, StoreError, Version,
    Write,
};
use omnirelay_wire::fault::Fault;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout, timeout_at};

pub use error::LifeError;

use super::Registry;
use super::act::{CommitPlan, DaemonAct, WriteAuthority};
use super::follow::SEE_ALL_MAX;
use super::view::{LeaseTenancy, ViewRecord};
use crate::ttl_renewal::RefreshOutcome;
use error::unavailable;

/// How often a life is looked at again when somebody else was faster.
const TRIES_MAX: usize = 5;
/// How many groups a record may have its lives in. A life that somebody else has opened, and not used, is passed by.
const GROUPS_MAX: usize = 4;
/// How many records may begin lives at once; of one record, one.
const STRIPES: usize = 64;
/// How long a registration may take as a whole, with all that it waits for and tries again.
pub const REGISTRATION_MAX: Duration = Duration::from_secs(5);
/// How long a registration waits for a store that is silent.
const RETURN_WAIT: Duration = Duration::from_secs(1);
/// What is lived by when the view has not heard of the life before.
const TTL_UNKNOWN: Duration = Duration::from_secs(30);

/// Locks by record: one at a time may begin a life of it, or each would end the other's.
pub(super) struct LifeStartLocks([Mutex<()>; STRIPES]);

impl Default for LifeStartLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl LifeStartLocks {
    async fn of(&self, id: &RecordId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let stripe = hasher.finish() as usize % STRIPES;
        // There are as many as the remainder may be.
        self.0[stripe].lock().await
    }
}

/// Outcome for a record that somebody spoke for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlOutcome {
    Lives,
    /// The store is away; it is told when it is back.
    Deferred,
    /// It is gone.
    Gone,
}

impl TtlOutcome {
    pub fn is_deferred(self) -> bool {
        self == Self::Deferred
    }
}

/// New record with a TTL: the value, the TTL and the conditions with which its life begins.
pub struct NewTtlRecord<'a> {
    pub id: RecordId,
    pub ttl: Duration,
    /// When nobody waits for it any more.
    pub until: Instant,
    /// In which it was seen not to be there, and what else must hold was read: versions begin anew with an epoch.
    pub epoch: Epoch,
    /// What else must hold; that the record is not there is one of them anyway.
    pub preconditions: Vec<Precondition>,
    /// Makes the value, given when the life began by the store's clock.
    pub value: &'a (dyn Fn(Millis) -> Bytes + Send + Sync),
}

/// Claim on a record of the view: what it is to be from now on.
pub struct TtlClaim<'a> {
    pub record: &'a ViewRecord,
    pub ttl: Duration,
    /// When nobody waits for it any more.
    pub until: Instant,
    pub value: &'a Bytes,
    /// What else must hold, read in the epoch of the record; that this is as it was read is one of them anyway.
    pub preconditions: &'a [Precondition],
}

/// Wanted state of a living record, and what else must hold.
struct WantedState<'a> {
    /// What the value was made from.
    from: (Epoch, Version),
    ttl: Duration,
    until: Instant,
    value: &'a Bytes,
    preconditions: &'a [Precondition],
}

/// Standing of a record that somebody speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlStanding {
    /// By the store's clock.
    pub at: Millis,
    /// In how long it ends; `None` while the store is away.
    pub expires_in: Option<Duration>,
}

impl TtlStanding {
    /// Reads it off the groups of a view.
    pub fn of(tenancy: &LeaseTenancy<'_>, record: &ViewRecord, stale: bool) -> Self {
        let life = record.record.group.as_ref().and_then(|group| tenancy.life(group));
        let ends_at = record.record.group.as_ref().and_then(|group| tenancy.ends_at(group));
        Self {
            at: life.map_or(record.record.updated_at, |life| life.renewed_at),
            expires_in: ends_at.filter(|_| !stale).map(|at| at.since(tenancy.now())),
        }
    }
}

impl TtlStanding {
    /// As messages say it.
    pub fn at_unix_ms(&self) -> i64 {
        i64::try_from(self.at.0).unwrap_or(i64::MAX)
    }

    /// As messages say it.
    pub fn expires_in_ms(&self) -> Option<i64> {
        self.expires_in.map(|left| i64::try_from(whole_ms(left)).unwrap_or(i64::MAX))
    }
}

impl Registry {
    /// Says that a record of the view still lives, and brings it back as it was if the store spares it although its
    /// life is over: after an outage.
    ///
    /// # Errors
    /// [`LifeError`]; the record may live all the same, until its deadline.
    pub async fn keep_alive(&self, record: &ViewRecord) -> Result<TtlOutcome, LifeError> {
        self.keep_heard(record, Instant::now()).await
    }

    /// The same of many.
    pub async fn keep_all_alive(&self, records: &[Arc<ViewRecord>]) -> Vec<Result<TtlOutcome, LifeError>> {
        let heard = Instant::now();
        let refreshed = self.refresh_all(records, heard).await;
        let kept = records
            .iter()
            .zip(refreshed)
            .map(async |(record, refreshed)| self.keep_refreshed(record, heard, refreshed?).await);
        join_all(kept).await
    }

    /// The same of somebody who spoke at `heard`.
    pub(super) async fn keep_heard(
        &self,
        record: &ViewRecord,
        heard: Instant,
    ) -> Result<TtlOutcome, LifeError> {
        let refreshed = self.refresh_heard(record, heard).await?;
        self.keep_refreshed(record, heard, refreshed).await
    }

    /// Sees to it that a record lives of which the store has said this.
    async fn keep_refreshed(
        &self,
        record: &ViewRecord,
        heard: Instant,
        refreshed: RefreshOutcome,
    ) -> Result<TtlOutcome, LifeError> {
        match refreshed {
            RefreshOutcome::Lives => return Ok(TtlOutcome::Lives),
            RefreshOutcome::Deferred => return Ok(TtlOutcome::Deferred),
            RefreshOutcome::Over => {}
        }
        match self.bring_back(record, None, heard).await {
            Err(error) if error.may_pass() => {
                self.defer(record, heard)?;
                Ok(TtlOutcome::Deferred)
            }
            kept => kept,
        }
    }

    /// Begins another life of a record that the view shows and whose life is over, with another value if one is given.
    async fn bring_back(
        &self,
        record: &ViewRecord,
        wanted: Option<&WantedState<'_>>,
        heard: Instant,
    ) -> Result<TtlOutcome, LifeError> {
        let id = &record.record.id;
        let until = wanted.map_or_else(|| Instant::now() + REGISTRATION_MAX, |wanted| wanted.until);
        let _one = by(until, self.beginnings.of(id)).await?;
        let (mut tried, mut looked) = (None, false);
        for _ in 0..TRIES_MAX {
            // What stays as it was when the store refused it is over for the store.
            let now = self.view().get(id).filter(|now| tried != Some(now.record.version));
            let Some(now) = now else {
                if looked {
                    return self.gone(record, heard);
                }
                looked = true;
                self.see_all().await;
                continue;
            };
            // Made from what is no more it would put the old over the new.
            if wanted.is_some_and(|wanted| wanted.from != (now.epoch, now.record.version)) {
                return Err(conflict(id.clone()).into());
            }
            // Somebody else may have brought it back meanwhile.
            match by(until, self.refresh_heard(&now, heard)).await?? {
                RefreshOutcome::Lives => return self.change_living(&now, wanted).await,
                RefreshOutcome::Deferred => return Ok(TtlOutcome::Deferred),
                RefreshOutcome::Over => {}
            }
            let refused = match self.write_anew(&now, wanted).await {
                Ok(()) => return Ok(TtlOutcome::Lives),
                Err(refused) => refused,
            };
            match &refused {
                LifeError::Commit(CommitError::Conflict { .. }) => tried = Some(now.record.version),
                LifeError::Held => {}
                LifeError::Commit(_) | LifeError::TooManyWait(_) => return Err(refused),
            }
            self.see_what_overtook(&refused).await;
        }
        Err(LifeError::Held)
    }

    /// Waits a moment until the view shows what was faster than a registration.
    pub async fn see_what_overtook(&self, refused: &LifeError) {
        match refused {
            LifeError::Commit(refused) => {
                self.catch_up(refused, Instant::now() + SEE_ALL_MAX).await;
            }
            LifeError::Held | LifeError::TooManyWait(_) => self.see_all().await,
        }
    }

    /// What is not found is gone, unless the view does not know all yet: others may just have brought it back.
    fn gone(&self, record: &ViewRecord, heard: Instant) -> Result<TtlOutcome, LifeError> {
        if !self.view().is_behind() {
            return Ok(TtlOutcome::Gone);
        }
        self.defer(record, heard)?;
        Ok(TtlOutcome::Deferred)
    }

    async fn change_living(
        &self,
        now: &ViewRecord,
        wanted: Option<&WantedState<'_>>,
    ) -> Result<TtlOutcome, LifeError> {
        if let Some(wanted) = wanted.filter(|wanted| *wanted.value != now.record.value) {
            let write = put(now, wanted.value, now.record.group.clone());
            let preconditions = unchanged(now, wanted.preconditions);
            self.commit_life(now.epoch, write, preconditions, wanted.until).await?;
        }
        Ok(TtlOutcome::Lives)
    }

    async fn write_anew(&self, now: &ViewRecord, wanted: Option<&WantedState<'_>>) -> Result<(), LifeError> {
        let old = now.record.group.as_ref().map(|group| &group.id);
        let known = || old.and_then(|old| self.view().group(old)).map_or(TTL_UNKNOWN, |group| group.ttl);
        let ttl = wanted.map_or_else(known, |wanted| wanted.ttl);
        let until = wanted.map_or_else(|| Instant::now() + REGISTRATION_MAX, |wanted| wanted.until);
        let group = by(until, self.open_life(&now.record.id, old, ttl)).await??;
        let value = wanted.map_or(&now.record.value, |wanted| wanted.value);
        let preconditions = unchanged(now, wanted.map_or(&[], |wanted| wanted.preconditions));
        let write = put(now, value, Some(group.of.clone()));
        self.write_life(now.epoch, write, &group, preconditions, until).await
    }

    /// Says that a record of the view lives, and is this: what it is already is only refreshed. One that lives by
    /// another time to live than it should begins another life.
    ///
    /// # Errors
    /// [`LifeError`], [`CommitError::Conflict`] among them when it is another version by now; unless the outcome is
    /// unknown, the record is as it was.
    pub async fn claim(&self, claim: TtlClaim<'_>) -> Result<(), LifeError> {
        let TtlClaim { record, ttl, until, value, preconditions } = claim;
        let from = (record.epoch, record.record.version);
        let wanted = WantedState { from, ttl, until, value, preconditions };
        let kept = match by(until, self.refresh(record)).await?? {
            RefreshOutcome::Lives if self.has_other_ttl(record, ttl) => {
                let _one = by(until, self.beginnings.of(&record.record.id)).await?;
                self.write_anew(record, Some(&wanted)).await?;
                TtlOutcome::Lives
            }
            RefreshOutcome::Lives => self.change_living(record, Some(&wanted)).await?,
            RefreshOutcome::Deferred => TtlOutcome::Deferred,
            RefreshOutcome::Over => self.bring_back(record, Some(&wanted), Instant::now()).await?,
        };
        match kept {
            TtlOutcome::Lives => Ok(()),
            // It is no more than a word for what is there.
            TtlOutcome::Deferred if *value == record.record.value => Ok(()),
            TtlOutcome::Deferred => Err(gone_away().into()),
            TtlOutcome::Gone => Err(conflict(record.record.id.clone()).into()),
        }
    }

    /// Whether a record lives by another time to live than this, as one does from before it was configured.
    fn has_other_ttl(&self, record: &ViewRecord, ttl: Duration) -> bool {
        let group = record.record.group.as_ref().and_then(|group| self.view().group(&group.id));
        group.is_some_and(|group| whole_ms(group.ttl) != whole_ms(ttl))
    }

    /// Begins a life of a record that is not there.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when it is there, or a precondition does not hold; [`StoreError::EpochChanged`] when
    /// it is to be decided anew: nothing was changed.
    pub async fn begin_life(&self, beginning: NewTtlRecord<'_>) -> Result<(), LifeError> {
        let NewTtlRecord { id, ttl, until, epoch, mut preconditions, value } = beginning;
        let _one = by(until, self.beginnings.of(&id)).await?;
        let current = self.view().head().epoch;
        if current != epoch {
            return Err(StoreError::EpochChanged { current }.into());
        }
        if self.view().get(&id).is_some() {
            return Err(conflict(id).into());
        }
        by(until, self.check_over(&id)).await??;
        let group = by(until, self.open_life(&id, None, ttl)).await??;
        preconditions.push(Precondition::Version { id: id.clone(), version: Version(0) });
        let write = Write::Put { id, value: value(group.renewed_at), group: Some(group.of.clone()) };
        self.write_life(epoch, write, &group, preconditions, until).await
    }

    /// Checks that a record is over that the view still holds, and no longer shows: others may have spoken for it a
    /// moment ago, and another life would end the one that it has.
    async fn check_over(&self, id: &RecordId) -> Result<(), LifeError> {
        let Some(held) = self.view().held(id) else { return Ok(()) };
        match self.refresh(&held).await? {
            RefreshOutcome::Over => Ok(()),
            RefreshOutcome::Lives => Err(conflict(id.clone()).into()),
            RefreshOutcome::Deferred => Err(gone_away().into()),
        }
    }

    async fn write_life(
        &self,
        epoch: Epoch,
        write: Write,
        group: &Group,
        preconditions: Vec<Precondition>,
        until: Instant,
    ) -> Result<(), LifeError> {
        let written = self.commit_life(epoch, write, preconditions, until).await;
        if matches!(&written, Err(error) if !is_unknown(error)) {
            // Otherwise it ends by itself.
            let _ = by(until, self.end_group(epoch, group.of.clone())).await;
        }
        Ok(written?)
    }

    async fn commit_life(
        &self,
        epoch: Epoch,
        write: Write,
        preconditions: Vec<Precondition>,
        until: Instant,
    ) -> Result<(), CommitError> {
        // What is not sent is not made.
        if until <= Instant::now() {
            return Err(too_late().into());
        }
        let kind = write.id().kind.clone();
        let within = until.saturating_duration_since(Instant::now());
        let act = DaemonAct { within, ..DaemonAct::new("registry.live", [kind], WriteAuthority::Unfenced) };
        let plan = CommitPlan::read_in(epoch).require(preconditions).write([write]);
        self.attempt(&act, plan).await.map(drop)
    }

    /// Opens a group for a record, other than `old`.
    async fn open_life(
        &self,
        id: &RecordId,
        old: Option<&GroupId>,
        ttl: Duration,
    ) -> Result<Group, LifeError> {
        let epoch = self.view().head().epoch;
        for place in 0..GROUPS_MAX {
            let group = group_of(id, place);
            if old == Some(&group) {
                continue;
            }
            // One daemon does not end what another has just begun.
            match self.open_group(epoch, group, ttl, self.node_id()).await? {
                OpenedGroup::Open(group) => {
                    self.view().note_opened(epoch, &group);
                    return Ok(group);
                }
                OpenedGroup::Held { .. } => {}
            }
        }
        Err(LifeError::Held)
    }

    /// Waits a moment, at most until `until`, for a view and a store that answers, for `action`.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`; nothing was changed.
    pub async fn reachable_for(&self, action: &str, until: Instant) -> Result<(), Fault> {
        let why = |why| unavailable(action, why);
        timeout_at(until, self.ready_for(""))
            .await
            .map_err(|_| why("the registry is still being loaded"))??;
        timeout(RETURN_WAIT, self.view().connectivity().heard())
            .await
            .map_err(|_| why("the store does not answer"))
    }
}

fn is_unknown(error: &CommitError) -> bool {
    matches!(error, CommitError::Store(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_)))
}

/// Does this by `until`. It must be such that nothing is changed when it is given up.
async fn by<T>(until: Instant, does: impl Future<Output = T>) -> Result<T, StoreError> {
    timeout_at(until, does).await.map_err(|_| too_late())
}

fn too_late() -> StoreError {
    StoreError::Unavailable("no answer in time".into())
}

/// The store has gone away just now.
fn gone_away() -> StoreError {
    StoreError::Unavailable("it does not answer".into())
}

/// The record is not as it was thought to be.
fn conflict(id: RecordId) -> CommitError {
    CommitError::Conflict { id, expected: Version(0), actual: Version(1) }
}

fn put(now: &ViewRecord, value: &Bytes, group: Option<GroupRef>) -> Write {
    Write::Put { id: now.record.id.clone(), value: value.clone(), group }
}

/// That a record is as it was read, and these.
fn unchanged(now: &ViewRecord, others: &[Precondition]) -> Vec<Precondition> {
    let own = Precondition::Version { id: now.record.id.clone(), version: now.record.version };
    others.iter().cloned().chain([own]).collect()
}

/// The group of a record's lives at one of its places.
fn group_of(id: &RecordId, place: usize) -> GroupId {
    // No key of such a record has a `/`.
    GroupId(if place == 0 { id.to_string() } else { format!("{id}/{place}") })
}
