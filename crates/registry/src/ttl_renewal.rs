//! Refreshes: somebody has said that a record's group still lives.
//!
//! Where a pulse is a journey, all that wait share one, one pulse at a time. While the store is away they are taken in
//! memory, and written once it is heard again: nobody dies of an outage. A refresh changes no record, so it is no event.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::iter;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_host::live::Live;
use omnirelay_store::{GroupRef, PAGE_MAX, Pulse, PulseAnswer, RecordId};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::Registry;
use super::follow::{SEE_ALL_MAX, wait_for};
use super::view::ViewRecord;

/// How many refreshes may wait for a pulse.
const WAITING_MAX: usize = 65_536;
/// How many records may wait for the store to come back.
const DEFERRED_MAX: usize = 200_000;
/// How many of them are written back at once.
const WRITING_BACK: usize = 256;
/// How many groups are renewed together at most.
const TOGETHER: usize = 64;
/// How long a pulse may take before what it should have renewed waits for the next.
const PULSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is tried to write back what waits.
const WRITE_BACK_EVERY: Duration = Duration::from_millis(100);
/// How long a record lives of which it is not known.
const TTL_UNKNOWN: Duration = Duration::from_secs(30);

/// Outcome of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// The store has moved the deadline.
    Lives,
    /// The store says that this life of the group is over.
    Over,
    /// The store is away; it is told when it is back.
    Deferred,
}

/// More refreshes wait than may.
#[derive(Debug, thiserror::Error)]
#[error("too many refreshes wait")]
pub struct TooManyWait;

/// Refreshes that wait for the next pulse, and those that wait for the store.
#[derive(Default)]
pub(super) struct RefreshQueue {
    /// What the store is asked for with each pulse, once they are sent.
    grace: OnceLock<Live<Duration>>,
    waiting: Mutex<Vec<PulseWaiter>>,
    added: Notify,
    deferred: Mutex<BTreeMap<RecordId, DeferredRefresh>>,
    put_off: Notify,
}

/// Caller who waits for a pulse.
struct PulseWaiter {
    group: GroupRef,
    /// `None`: the store did not say.
    answer: oneshot::Sender<Option<RefreshOutcome>>,
}

/// A record that somebody spoke for while the store was away.
#[derive(Clone, Copy)]
struct DeferredRefresh {
    heard: Instant,
    ttl: Duration,
    /// Of the value of which it was said.
    of_value: u64,
}

impl RefreshQueue {
    fn add(&self, group: GroupRef) -> Result<oneshot::Receiver<Option<RefreshOutcome>>, TooManyWait> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return Err(TooManyWait);
        }
        let first = waiting.is_empty();
        waiting.push(PulseWaiter { group, answer });
        drop(waiting);
        if first {
            self.added.notify_one();
        }
        Ok(answered)
    }

    /// Waits for somebody, and takes all who wait by then, as many as one pulse may renew.
    async fn take(&self) -> Vec<PulseWaiter> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if waiting.len() > PAGE_MAX {
                    return waiting.drain(..PAGE_MAX).collect();
                }
                if !waiting.is_empty() {
                    let room = Vec::with_capacity(waiting.len());
                    return std::mem::replace(&mut *waiting, room);
                }
            }
            self.added.notified().await;
        }
    }

    fn defer(&self, id: &RecordId, of: DeferredRefresh) -> Result<RefreshOutcome, TooManyWait> {
        let mut deferred = self.deferred.lock();
        if deferred.len() >= DEFERRED_MAX && !deferred.contains_key(id) {
            return Err(TooManyWait);
        }
        let known = deferred.entry(id.clone()).or_insert(of);
        if known.heard < of.heard {
            *known = of;
        }
        drop(deferred);
        self.put_off.notify_one();
        Ok(RefreshOutcome::Deferred)
    }

    /// What waits for the store and is not over by itself. It waits until it is done.
    fn waiting(&self) -> Vec<(RecordId, DeferredRefresh)> {
        let mut deferred = self.deferred.lock();
        deferred.retain(|_, of| of.heard.elapsed() < of.ttl);
        deferred.iter().map(|(id, of)| (id.clone(), *of)).collect()
    }

    /// Nothing more is to be told of this word; a newer one goes on waiting.
    fn done(&self, id: &RecordId, of: DeferredRefresh) {
        let mut deferred = self.deferred.lock();
        if deferred.get(id).is_some_and(|known| known.heard <= of.heard) {
            deferred.remove(id);
        }
    }
}

impl Registry {
    /// Says that a record's group still lives. A record without one always does.
    ///
    /// # Errors
    /// [`TooManyWait`]; nothing was changed.
    pub async fn refresh(&self, record: &ViewRecord) -> Result<RefreshOutcome, TooManyWait> {
        self.refresh_heard(record, Instant::now()).await
    }

    pub(super) async fn refresh_heard(
        &self,
        record: &ViewRecord,
        heard: Instant,
    ) -> Result<RefreshOutcome, TooManyWait> {
        let Some(group) = &record.record.group else { return Ok(RefreshOutcome::Lives) };
        if self.view().connectivity().is_silent() {
            return self.defer(record, heard);
        }
        let answered = match self.grace_here() {
            Some(grace) => {
                self.pulse(std::slice::from_ref(group), grace).await.map(|beat| refreshed_in(&beat, 0))
            }
            None => self.refreshes.add(group.clone())?.await.ok().flatten(),
        };
        answered.map_or_else(|| self.defer(record, heard), Ok)
    }

    /// The same of many records whose owners spoke at `heard`, together where a pulse is a call in this process.
    pub(super) async fn refresh_all(
        &self,
        records: &[Arc<ViewRecord>],
        heard: Instant,
    ) -> Vec<Result<RefreshOutcome, TooManyWait>> {
        let Some(grace) = self.grace_here() else {
            return join_all(records.iter().map(|record| self.refresh_heard(record, heard))).await;
        };
        let mut refreshed = Vec::with_capacity(records.len());
        let mut is_heard = true;
        // The groups are locked for as long as a pulse takes.
        for together in records.chunks(TOGETHER) {
            let groups: Vec<_> = together.iter().filter_map(|it| it.record.group.clone()).collect();
            is_heard = is_heard && !self.view().connectivity().is_silent();
            // A store that does not answer is not waited for again: whoever waits may not have the time.
            let beat = if is_heard { self.pulse(&groups, grace).await } else { None };
            is_heard = beat.is_some();
            let mut places = 0..;
            refreshed.extend(together.iter().map(|record| match (&record.record.group, &beat) {
                (None, _) => Ok(RefreshOutcome::Lives),
                (Some(_), Some(beat)) => Ok(refreshed_in(beat, places.next().unwrap_or_default())),
                (Some(_), None) => self.defer(record, heard),
            }));
        }
        refreshed
    }

    /// What a pulse asks for that is a call in this process; `None`: it is a journey, or refreshes are not sent yet.
    fn grace_here(&self) -> Option<Duration> {
        self.refreshes.grace.get().filter(|_| self.store().is_in_process()).map(Live::get)
    }

    /// Has the store told later that somebody has spoken for a record.
    pub(super) fn defer(&self, record: &ViewRecord, heard: Instant) -> Result<RefreshOutcome, TooManyWait> {
        let group = record.record.group.as_ref().and_then(|group| self.view().group(&group.id));
        let ttl = group.map_or(TTL_UNKNOWN, |group| group.ttl);
        self.refreshes.defer(&record.record.id, DeferredRefresh { heard, ttl, of_value: hash_of(record) })
    }

    /// Whether the store is away: what is said then is told it when it is back.
    pub fn is_away(&self) -> bool {
        self.view().connectivity().is_silent()
    }

    /// Whether a record waits for the store to hear of it.
    pub fn is_deferred(&self, id: &RecordId) -> bool {
        self.refreshes.deferred.lock().contains_key(id)
    }

    /// Number of records that wait for the store to hear of them.
    pub fn refreshes_deferred(&self) -> usize {
        self.refreshes.deferred.lock().len()
    }

    /// Sends what is refreshed to the store, for ever; without it every refresh waits. `grace` is that of the heart.
    pub async fn send_refreshes(&self, grace: impl Into<Live<Duration>>) {
        let grace = self.refreshes.grace.get_or_init(|| grace.into());
        tokio::join!(self.send_waiting(grace), self.write_back(grace));
    }

    async fn send_waiting(&self, grace: &Live<Duration>) {
        loop {
            let (groups, answers): (Vec<_>, Vec<_>) =
                self.refreshes.take().await.into_iter().map(|it| (it.group, it.answer)).unzip();
            let beat = self.pulse(&groups, grace.get()).await;
            for (at, answer) in answers.into_iter().enumerate() {
                // Whoever has gone meanwhile wants no answer.
                let _ = answer.send(beat.as_ref().map(|beat| refreshed_in(beat, at)));
            }
        }
    }

    /// Renews groups, and shows it in this daemon's view. `None`: nobody knows.
    async fn pulse(&self, groups: &[GroupRef], grace: Duration) -> Option<PulseAnswer> {
        let pulse = Pulse {
            epoch: Some(self.view().head().epoch),
            renew: groups.to_vec(),
            // What moves is told by the heartbeat.
            moved_since: Millis(u64::MAX),
            grace,
            ttl: None,
        };
        match timeout(PULSE_TIMEOUT, self.store().pulse(pulse)).await {
            Ok(Ok(beat)) => {
                self.view().note_renewed(&beat, groups);
                return Some(beat);
            }
            Ok(Err(error)) => {
                self.view().connectivity().heed(&error);
                debug!(error = %chain(&error), groups = groups.len(), "groups were not refreshed; trying again");
            }
            Err(_) => debug!(groups = groups.len(), "groups were not refreshed in time; trying again"),
        }
        None
    }

    /// Tells the store what it could not be told, once it is heard again. What has happened meanwhile, as far as the
    /// store has said so by then, decides for whom it is still spoken; that has a quarter of the grace to be read.
    async fn write_back(&self, grace: &Live<Duration>) {
        loop {
            if self.refreshes_deferred() == 0 {
                self.refreshes.put_off.notified().await;
            }
            sleep(WRITE_BACK_EVERY).await;
            let connectivity = self.view().connectivity();
            connectivity.heard().await;
            let behind_max = SEE_ALL_MAX.min(grace.get() / 4);
            let _ = timeout(behind_max, wait_for(self.view(), self.view().heard_of())).await;
            // In a new epoch it is said of the records that are there by then.
            if connectivity.epoch() != self.view().head().epoch {
                continue;
            }
            let mut waiting = self.refreshes.waiting();
            // After an outage what was over must be back before the grace ends; without a relay its agents are nowhere.
            waiting.sort_by_key(|(id, _)| {
                self.claimed.iter().position(|kind| *kind == id.kind).unwrap_or(usize::MAX)
            });
            let count = waiting.len();
            let left = iter(waiting)
                .map(|(id, of)| async move { self.write_back_one(id, of).await })
                .buffer_unordered(WRITING_BACK)
                .filter(|written| std::future::ready(!written))
                .count()
                .await;
            if count > left {
                info!(written = count - left, left, "refreshes written that had waited for the store");
            }
        }
    }

    /// False: it goes on waiting.
    async fn write_back_one(&self, id: RecordId, of: DeferredRefresh) -> bool {
        let Some(record) = self.view().get(&id) else { return false };
        if hash_of(&record) != of.of_value {
            // It is another relay's by now, or somewhere else: that was said later.
            self.refreshes.done(&id, of);
            return true;
        }
        let kept = self.keep_heard(&record, of.heard).await;
        let told = matches!(kept, Ok(kept) if !kept.is_deferred());
        if told {
            self.refreshes.done(&id, of);
        }
        told
    }
}

/// What became of the renewal at this place of a pulse.
fn refreshed_in(beat: &PulseAnswer, at: usize) -> RefreshOutcome {
    match beat.renewed.get(at) {
        Some(Some(_)) => RefreshOutcome::Lives,
        Some(None) | None => RefreshOutcome::Over,
    }
}

fn hash_of(record: &ViewRecord) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.record.value.hash(&mut hasher);
    hasher.finish()
}
