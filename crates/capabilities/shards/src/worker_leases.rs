//! Workers that serve what this node owns: for how long each may, and what none of them serves any more.
//!
//! A worker may serve a shard for as long as this node may rely on its session, counted from when it asked: whoever gets the shard next
//! gets it when this node has said that nobody serves it, or when its session is over by the store's clock, which is later.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_cluster_records::domain::FollowedDomains;
use omnirelay_core::time::Millis;
use omnirelay_decisions::shards::map::status;
use omnirelay_decisions::shards::worker_ids::WorkerIdOwnerBefore;
use omnirelay_host::live::Live;
use omnirelay_peer_records::{recorded_session, session_id};
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{DerivedRecords, ViewRecord};
use omnirelay_store::RecordId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{ReleasedShard, ShardValue};
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::millis;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tracing::warn;
use xxhash_rust::xxh64::Xxh64;

use super::SHARDS_RUNBOOK;
use super::loads::REPORT_LASTS;
use super::pb;
use super::workers::WorkerRights;
use crate::metrics::ShardMetrics;
use crate::shard_map_view::{NAMESPACE, NamespaceMap, NamespaceMaps, SHARD, of_namespace, parts};
use pb::shard_record::Status;

/// How long a request may be under way: one that is older is of no connection any more.
const UNDER_WAY_MAX: Duration = Duration::from_secs(10);

/// How long a worker waits for something new.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// A shard under one fence.
pub(crate) type FencedShard = (String, u64);

/// Leases of workers beside this daemon: what they may serve.
pub struct WorkerLeases {
    registry: Arc<Registry>,
    /// Who may ask.
    pub workers: Arc<WorkerRights>,
    /// When this process began, and how long its session was to live then.
    begun: Instant,
    first_ttl: Duration,
    book: Mutex<LeaseBook>,
    /// The shards of this node, in the order of their keys.
    owned: DerivedRecords<Vec<Arc<ViewRecord>>>,
    metrics: Arc<ShardMetrics>,
    /// How long a worker that has nothing to say waits for something new.
    pub waits: Live<Duration>,
}

/// Book of the leases of workers.
#[derive(Default)]
struct LeaseBook {
    /// Until when each worker may serve a shard, by the shard.
    until: BTreeMap<FencedShard, BTreeMap<String, Instant>>,
    /// The last request of each worker in each namespace, as long as another one may be under way.
    last: BTreeMap<(String, String), LastRequest>,
    /// How often something was dropped that somebody may wait for.
    drops: u64,
    /// What was said, or is about to be, to be served no more: nobody is let serve it again under this fence.
    given_up: BTreeSet<FencedShard>,
    /// This node stops.
    closed: bool,
}

/// Ground that answers to workers rest on.
#[derive(PartialEq)]
pub struct LeaseGround {
    namespaces: Cursor,
    shards: Cursor,
    through: Option<Millis>,
    trouble: Option<&'static str>,
}

/// Report of a worker: what it has said.
pub struct WorkerReport {
    pub serving: BTreeSet<FencedShard>,
    /// It serves something no more.
    pub dropped: bool,
}

/// Last request of a worker.
struct LastRequest {
    sequence: u64,
    /// What it was told, in short.
    told: Option<u64>,
    /// What it serves, and other nodes own.
    beside: BTreeSet<FencedShard>,
    /// No earlier one is under way any more by then.
    until: Instant,
}

impl WorkerLeases {
    /// Of a process that begins now; `session_ttl` is how long its session lives.
    pub fn new(registry: Arc<Registry>, session_ttl: Live<Duration>, metrics: Arc<ShardMetrics>) -> Self {
        let lives = session_ttl.map(|ttl| ttl.max(UNDER_WAY_MAX).max(REPORT_LASTS));
        // Leave counts from before the wait.
        let waits = session_ttl.map(|ttl| WAIT_MAX.min(ttl / 8));
        Self {
            workers: Arc::new(WorkerRights::new(registry.clone(), lives)),
            registry,
            begun: Instant::now(),
            first_ttl: session_ttl.get(),
            book: Mutex::default(),
            owned: DerivedRecords::default(),
            metrics,
            waits,
        }
    }

    /// Hears what a worker of a principal serves.
    ///
    /// # Errors
    /// Those of [`WorkerRights::take`]; `LATE_REQUEST`: a later one of it was there before.
    pub fn hear(&self, principal: &Arc<str>, asked: &pb::HoldShardsRequest) -> Result<WorkerReport, Fault> {
        let worker = &asked.worker_id;
        let taken = self.workers.take(principal, &asked.namespace, worker)?;
        let served = |served: &pb::ServedShard| {
            (format!("{}/{}", asked.namespace, served.shard_id), served.fence_token.cast_unsigned())
        };
        let serving: BTreeSet<FencedShard> = asked.serving.iter().map(served).collect();
        let now = Instant::now();
        let mut book = self.book.lock();
        book.forget(now);
        if taken == WorkerIdOwnerBefore::Over {
            // Its numbers are of the worker before it, which serves nothing any more.
            book.last.remove(&key(asked));
        }
        if !book.hears(asked, now) {
            return Err(Fault::new(reasons::LATE_REQUEST, "a later request of this worker was there before")
                .hint("nothing was changed; ask again with a greater `sequence`"));
        }
        let dropped = book.drop_unserved(worker, &asked.namespace, &serving);
        // Of each shard the last one, however many a worker names.
        let beside = serving.iter().filter(|held| self.is_of_another(held)).cloned();
        let beside = beside.collect::<BTreeMap<String, u64>>().into_iter().collect();
        for (shard, fence_token) in book.note_beside(asked, beside) {
            self.metrics.count_concurrent(&asked.namespace);
            warn!(
                shard,
                fence_token,
                worker,
                runbook = SHARDS_RUNBOOK,
                "worker serves a shard that another node owns by now"
            );
        }
        if asked.leaving && serving.is_empty() {
            self.workers.leave(&asked.namespace, worker);
        }
        Ok(WorkerReport { serving, dropped })
    }

    /// Whether another node owns a shard by now, with a later fence.
    fn is_of_another(&self, (shard, fence): &FencedShard) -> bool {
        let record = self.registry.view().get(&RecordId::new(SHARD, shard.as_str()));
        let value = record.and_then(|record| record.value::<ShardValue>());
        value.is_some_and(|value| value.owner != self.registry.node_id() && value.fence_token > *fence)
    }

    /// Grants what a worker of a principal may serve from now on.
    ///
    /// # Errors
    /// Those of [`NamespaceMaps::ready`] and [`WorkerRights::check_holder`]: the policy may be another one since it was heard.
    pub fn grant(
        &self,
        principal: &str,
        asked: &pb::HoldShardsRequest,
        serving: &BTreeSet<FencedShard>,
    ) -> Result<pb::HoldShardsResponse, Fault> {
        self.workers
            .check_holder(principal, &NamespaceMaps::of(self.registry.view()).ready(&asked.namespace)?)?;
        let now = Instant::now();
        let mut book = self.book.lock();
        let (mut answer, until) = self.answer(&book, asked, serving)?;
        if let Some(until) = until {
            let left = until.saturating_duration_since(now).as_millis();
            answer.valid_for_ms = u32::try_from(left).unwrap_or(u32::MAX);
            book.note_granted(asked, &answer, until);
        }
        if let Some(last) = book.last.get_mut(&key(asked)).filter(|last| last.sequence <= asked.sequence) {
            last.told = Some(digest(&answer));
        }
        Ok(answer)
    }

    /// Ground that answers to workers rest on, besides what they say and the time.
    pub fn ground(&self) -> LeaseGround {
        let view = self.registry.view();
        LeaseGround {
            namespaces: view.changed(&NAMESPACE),
            shards: view.changed(&SHARD),
            through: view.confirmed_through(),
            trouble: self.may_serve_until(&self.book.lock()).err(),
        }
    }

    /// Whether a worker would be told something else than it was last.
    pub fn has_news(&self, asked: &pb::HoldShardsRequest, serving: &BTreeSet<FencedShard>) -> bool {
        let book = self.book.lock();
        let told = book.last.get(&key(asked)).and_then(|last| last.told);
        self.answer(&book, asked, serving).map_or(true, |(answer, _)| Some(digest(&answer)) != told)
    }

    /// What a worker is to be told, and until when it may serve what is in it.
    fn answer(
        &self,
        book: &LeaseBook,
        asked: &pb::HoldShardsRequest,
        serving: &BTreeSet<FencedShard>,
    ) -> Result<(pb::HoldShardsResponse, Option<Instant>), Fault> {
        // Read by whoever has the book: nobody goes by an older registry than the one before him.
        let maps = NamespaceMaps::of(self.registry.view());
        let map = maps.ready(&asked.namespace)?;
        let mut answer = pb::HoldShardsResponse {
            node_id: self.registry.node_id().to_owned(),
            map: Some(map.version()),
            ..pb::HoldShardsResponse::default()
        };
        if !book.is_last(asked) {
            // What the later one said it serves is not to be contradicted.
            "a later request of this worker was there before".clone_into(&mut answer.trouble);
            return Ok((answer, None));
        }
        if FollowedDomains::of(self.registry.view()).has(map.name()) {
            "the namespace is active in another cluster: its shards are served there"
                .clone_into(&mut answer.trouble);
            return Ok((answer, None));
        }
        match self.may_serve_until(book) {
            Ok(until) => {
                answer.shards = self.granted(&map, book, asked, serving);
                if answer.shards.is_empty() && self.is_fenced_before(map.name()) {
                    "shards get other fence tokens first: the registry has begun a new epoch"
                        .clone_into(&mut answer.trouble);
                }
                Ok((answer, Some(until)))
            }
            Err(trouble) => {
                trouble.clone_into(&mut answer.trouble);
                Ok((answer, None))
            }
        }
    }

    /// Rises when a worker serves something no more.
    pub fn drops(&self) -> u64 {
        self.book.lock().drops
    }

    /// Until when this node may have anything served.
    fn may_serve_until(&self, book: &LeaseBook) -> Result<Instant, &'static str> {
        let view = self.registry.view();
        if book.closed {
            return Err("this node stops");
        }
        // What an epoch before this one has had served may go on until then.
        if view.now() < view.tenancy().quarantine_until() {
            return Err("the registry has begun anew a moment ago");
        }
        let epoch = view.head().epoch;
        let me = self.registry.node_id();
        let session = self.registry.held_groups().confirmed(&session_id(me), epoch);
        let (session, until) = session.ok_or("this node has no session that it may rely on")?;
        // Until a session is over, what its node owns is taken from it by nobody. What came between it and the one before is known here
        // once that commit is which the node was registered in it with.
        if recorded_session(view, me) != Some(session) {
            return Err("this node has a new session, and does not know yet what became of its shards");
        }
        Ok(until)
    }

    fn granted(
        &self,
        map: &NamespaceMap<'_>,
        book: &LeaseBook,
        asked: &pb::HoldShardsRequest,
        serving: &BTreeSet<FencedShard>,
    ) -> Vec<pb::HeldShard> {
        let now = self.registry.view().now();
        let (grace, through) = (map.spec().policy.drain_grace, self.registry.view().confirmed_through());
        let owned = self.owned();
        let of = |record: &Arc<ViewRecord>| {
            let value = record.value::<ShardValue>()?;
            let held = (record.record.id.key.clone(), value.fence_token);
            let is_served = serving.contains(&held);
            let draining = match status(&value).0 {
                Status::Active if is_served || !asked.leaving => false,
                // It may finish what it has begun.
                Status::Draining if is_served && is_in_time(&value, grace, now) => true,
                _ => return None,
            };
            if !is_of_this_epoch(record) || book.given_up.contains(&held) {
                return None;
            }
            if through.is_some_and(|through| record.record.updated_at >= through) {
                // It will be certain the sooner.
                self.registry.view().ask_confirmation();
                return None;
            }
            let (_, shard) = parts(&record.record.id)?;
            let (shard_id, fence_token) = (shard.to_owned(), held.1.cast_signed());
            Some(pb::HeldShard { shard_id, fence_token, draining })
        };
        of_namespace(&owned, map.name()).iter().filter_map(of).collect()
    }

    /// Whether anything of a namespace was given to this node in another epoch.
    fn is_fenced_before(&self, namespace: &str) -> bool {
        of_namespace(&self.owned(), namespace).iter().any(|record| !is_of_this_epoch(record))
    }

    /// Shards that this node owns, is to stop, and nobody serves; and when there may be more. What is named here nobody
    /// is let serve from then on.
    pub fn to_give_up(&self) -> (Vec<ReleasedShard>, Option<Instant>) {
        let now = Instant::now();
        let mut book = self.book.lock();
        let owned = self.owned();
        book.forget(now);
        let (mut given_up, mut current, mut again) = (Vec::new(), BTreeSet::new(), None::<Instant>);
        let quiet = Some(self.quiet_until()).filter(|until| now < *until);
        for (held, record) in owned.iter().filter_map(to_stop) {
            let served = book.served_until(&held.0);
            match served.max(quiet) {
                Some(until) => again = Some(again.map_or(until, |again| again.min(until))),
                None => {
                    let (namespace, shard) = parts(&record.record.id).unwrap_or_default();
                    given_up.push(ReleasedShard {
                        namespace: namespace.to_owned(),
                        shard_id: shard.to_owned(),
                        fence_token: held.1,
                        unknown_fields: Default::default(),
                    });
                    current.insert(held);
                }
            }
        }
        // Of others the fence is another one by now, or will be before they are served again.
        book.given_up = current;
        (given_up, again)
    }

    /// Lets nobody serve anything from now on, and returns once nobody does.
    pub async fn close(&self) {
        let last = {
            let mut book = self.book.lock();
            book.closed = true;
            let (now, owned) = (Instant::now(), self.owned());
            // Workers of the process before this one may not have asked yet.
            let quiet = Some(self.quiet_until()).filter(|until| now < *until && !owned.is_empty());
            book.until.values().flat_map(BTreeMap::values).max().copied().max(quiet)
        };
        if let Some(last) = last {
            sleep_until(last).await;
        }
    }

    /// Until when workers of the process before this one may serve, as it has let them: by its session, whatever is set since.
    fn quiet_until(&self) -> Instant {
        let former = self.registry.held_groups().longest_replaced_ttl(&session_id(self.registry.node_id()));
        self.begun + self.first_ttl.max(former)
    }

    fn owned(&self) -> Arc<Vec<Arc<ViewRecord>>> {
        let me = self.registry.node_id();
        let is_own =
            |record: &&Arc<ViewRecord>| record.value::<ShardValue>().is_some_and(|value| value.owner == me);
        let own = |records: &[Arc<ViewRecord>]| records.iter().filter(is_own).cloned().collect();
        let (owned, followed) =
            (self.owned.of(self.registry.view(), &SHARD, own), FollowedDomains::of(self.registry.view()));
        if followed.is_empty() {
            return owned;
        }
        // A node of the other cluster that has this node's name owns them.
        let is_here = |record: &&Arc<ViewRecord>| {
            parts(&record.record.id).is_some_and(|(namespace, _)| !followed.has(namespace))
        };
        Arc::new(owned.iter().filter(is_here).cloned().collect())
    }
}

impl LeaseBook {
    /// Forgets what is over.
    fn forget(&mut self, now: Instant) {
        self.until.retain(|_, workers| {
            workers.retain(|_, until| now < *until);
            !workers.is_empty()
        });
        self.last.retain(|_, last| now < last.until);
    }

    /// Notes a request; false: a later one was there before.
    fn hears(&mut self, asked: &pb::HoldShardsRequest, now: Instant) -> bool {
        let new = || LastRequest { sequence: 0, told: None, beside: BTreeSet::new(), until: now };
        let last = self.last.entry(key(asked)).or_insert_with(new);
        let is_later = asked.sequence == 0 || asked.sequence > last.sequence;
        (last.sequence, last.until) = (asked.sequence.max(last.sequence), now + UNDER_WAY_MAX);
        is_later
    }

    /// Notes what a worker serves that other nodes own; answers what is new of it.
    fn note_beside(
        &mut self,
        asked: &pb::HoldShardsRequest,
        beside: BTreeSet<FencedShard>,
    ) -> Vec<FencedShard> {
        let Some(last) = self.last.get_mut(&key(asked)) else { return Vec::new() };
        let new = beside.difference(&last.beside).cloned().collect();
        last.beside = beside;
        new
    }

    /// Notes until when a worker may serve what it is told.
    fn note_granted(
        &mut self,
        asked: &pb::HoldShardsRequest,
        answer: &pb::HoldShardsResponse,
        until: Instant,
    ) {
        for held in &answer.shards {
            let shard = (format!("{}/{}", asked.namespace, held.shard_id), held.fence_token.cast_unsigned());
            let known = self.until.entry(shard).or_default().entry(asked.worker_id.clone()).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// Whether no later request than this one was there.
    fn is_last(&self, asked: &pb::HoldShardsRequest) -> bool {
        asked.sequence == 0 || self.last.get(&key(asked)).is_none_or(|last| last.sequence <= asked.sequence)
    }

    /// Notes that a worker serves nothing of a namespace but this; whether that was news.
    fn drop_unserved(&mut self, worker: &str, namespace: &str, serving: &BTreeSet<FencedShard>) -> bool {
        let mut dropped = false;
        let is_of = |key: &str| key.split_once('/').is_some_and(|(of, _)| of == namespace);
        for (held, workers) in &mut self.until {
            if is_of(&held.0) && !serving.contains(held) {
                dropped |= workers.remove(worker).is_some();
            }
        }
        self.drops += u64::from(dropped);
        dropped
    }

    /// Until when anybody may serve a shard, under this fence or one before it: a fence rises too where a shard stays after all.
    fn served_until(&self, shard: &str) -> Option<Instant> {
        let fences = (shard.to_owned(), 0)..=(shard.to_owned(), u64::MAX);
        self.until.range(fences).flat_map(|(_, workers)| workers.values()).max().copied()
    }
}

/// The namespace and the worker of a request.
fn key(asked: &pb::HoldShardsRequest) -> (String, String) {
    (asked.namespace.clone(), asked.worker_id.clone())
}

/// What a worker is told, in short.
fn digest(answer: &pb::HoldShardsResponse) -> u64 {
    let mut digest = Xxh64::new(0);
    answer.trouble.hash(&mut digest);
    for held in &answer.shards {
        (held.shard_id.as_str(), held.fence_token, held.draining).hash(&mut digest);
    }
    digest.finish()
}

/// Whether the fence token of a shard was given in this epoch: one of another may be below others that were given and lost.
fn is_of_this_epoch(record: &ViewRecord) -> bool {
    record.value::<ShardValue>().is_some_and(|value| value.fence_epoch == record.epoch.0)
}

/// A shard of this node that is to be served no more.
fn to_stop(record: &Arc<ViewRecord>) -> Option<(FencedShard, &Arc<ViewRecord>)> {
    let value = record.value::<ShardValue>().filter(|value| !value.target.is_empty())?;
    Some(((record.record.id.key.clone(), value.fence_token), record))
}

fn is_in_time(value: &ShardValue, grace: Duration, now: Millis) -> bool {
    let since = value.draining_since.as_ref().map(millis).unwrap_or_default().as_of(now);
    now < since.after(grace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(namespace: &str, sequence: u64) -> pb::HoldShardsRequest {
        let (namespace, worker_id) = (namespace.to_owned(), "w".to_owned());
        pb::HoldShardsRequest { namespace, worker_id, sequence, ..pb::HoldShardsRequest::default() }
    }

    #[tokio::test]
    async fn a_request_that_is_late_is_known_by_its_number() {
        let (mut book, now) = (LeaseBook::default(), Instant::now());
        assert!(book.hears(&asked("orders", 2), now) && book.hears(&asked("orders", 3), now));
        assert!(!book.hears(&asked("orders", 3), now) && !book.hears(&asked("orders", 2), now));
        assert!(
            book.is_last(&asked("orders", 3)) && !book.is_last(&asked("orders", 2)),
            "one that waits is late too"
        );
        // Another namespace counts by itself, and so does a worker that does not.
        assert!(book.hears(&asked("users", 1), now) && book.is_last(&asked("users", 1)));
        assert!(book.hears(&asked("orders", 0), now) && book.is_last(&asked("orders", 0)));
        book.forget(now + UNDER_WAY_MAX);
        assert!(book.last.is_empty() && book.hears(&asked("orders", 1), now));
    }

    #[tokio::test]
    async fn what_is_served_beside_another_owner_is_counted_once() {
        let (mut book, now) = (LeaseBook::default(), Instant::now());
        book.hears(&asked("orders", 1), now);
        let held = |shard: &str| (format!("orders/{shard}"), 7);
        assert_eq!(book.note_beside(&asked("orders", 1), [held("1")].into()), [held("1")]);
        assert_eq!(book.note_beside(&asked("orders", 2), [held("1"), held("2")].into()), [held("2")]);
        book.note_beside(&asked("orders", 3), BTreeSet::new());
        assert_eq!(book.note_beside(&asked("orders", 4), [held("1")].into()), [held("1")]);
    }

    #[tokio::test]
    async fn a_shard_is_served_until_the_last_leave_under_any_fence_ends() {
        let (mut book, now) = (LeaseBook::default(), Instant::now());
        let of = |book: &mut LeaseBook, fence: u64, worker: &str, ms: u64| {
            let until = now + Duration::from_millis(ms);
            book.until.entry(("orders/1".to_owned(), fence)).or_default().insert(worker.to_owned(), until);
        };
        of(&mut book, 7, "v", 900);
        of(&mut book, 8, "w", 500);
        assert_eq!(book.served_until("orders/1"), Some(now + Duration::from_millis(900)));
        assert!(book.drop_unserved("v", "orders", &BTreeSet::new()), "it was news");
        assert_eq!((book.served_until("orders/1"), book.drops), (Some(now + Duration::from_millis(500)), 1));
        assert!(!book.drop_unserved("w", "orders", &[("orders/1".to_owned(), 8)].into()));
        assert!(!book.drop_unserved("w", "users", &BTreeSet::new()), "of another namespace");
        book.forget(now + Duration::from_millis(500));
        assert_eq!((book.served_until("orders/1"), book.served_until("orders/10")), (None, None));
    }
}
