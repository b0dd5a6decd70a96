//! Workers that serve what this node owns: for how long each may, and what none of them serves any more.
//!
//! A worker may serve a shard for as long as this node may rely on its session, counted from when it asked: whoever gets the shard next
//! gets it when this node has said that nobody serves it, or when its session is over by the store's clock, which is later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omnirelay_core::text::is_unseen;
use omnirelay_core::time::Millis;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{ReleasedShard, ShardValue};
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::millis;
use tokio::time::{Instant, sleep_until};

use super::known::{Map, Maps, SHARD, parts};
use super::pb;
use crate::core::shards::map::status;
use crate::daemon::objects::peers::session_id;
use crate::daemon::registry::Registry;
use crate::daemon::registry::view::ViewRecord;
use pb::shard_record::Status;

/// The most workers that serve at once.
const WORKERS_MAX: usize = 256;

/// A shard under one fence.
type Held = (String, u64);

/// What workers beside this daemon may serve.
pub struct Holdings {
    registry: Arc<Registry>,
    /// Workers of the process before this one may serve until then.
    quiet_until: Instant,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Until when each worker may serve a shard, by the shard.
    until: BTreeMap<Held, BTreeMap<String, Instant>>,
    /// What was said, or is about to be, to be served no more: nobody is let serve it again under this fence.
    given_up: BTreeSet<Held>,
    /// This node stops.
    closed: bool,
}

impl Holdings {
    /// Of a process that begins now; `session_ttl` is that of its session, and of the one before it.
    pub fn new(registry: Arc<Registry>, session_ttl: Duration) -> Self {
        Self { registry, quiet_until: Instant::now() + session_ttl, book: Mutex::default() }
    }

    /// What a worker may serve from now on; and whether there is something that nobody serves any more.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; those of [`Maps::ready`]; `TOO_MANY_WORKERS`.
    pub fn hold(&self, asked: &pb::HoldShardsRequest) -> Result<(pb::HoldShardsResponse, bool), Fault> {
        let worker = &asked.worker_id;
        if worker.is_empty() || worker.len() > 128 || worker.chars().any(is_unseen) {
            return Err(Fault::invalid("field `workerId` is 1 to 128 visible characters"));
        }
        let serving: BTreeSet<Held> = asked
            .serving
            .iter()
            .map(|served| {
                (format!("{}/{}", asked.namespace, served.shard_id), served.fence_token.cast_unsigned())
            })
            .collect();
        let now = Instant::now();
        let mut book = self.lock();
        // Read by whoever has the book: nobody goes by an older registry than the one before him.
        let maps = Maps::of(self.registry.view());
        let map = maps.ready(&asked.namespace)?;
        book.forget(now);
        if !book.knows(worker) && book.workers() >= WORKERS_MAX {
            let message = format!("{WORKERS_MAX} workers serve what this node owns, and no more may");
            return Err(Fault::new(reasons::TOO_MANY_WORKERS, message)
                .hint("end some; or let one process serve several shards"));
        }
        let dropped = book.drop_unserved(worker, &asked.namespace, &serving);
        let mut answer = pb::HoldShardsResponse {
            node_id: self.registry.node_id().to_owned(),
            map: Some(map.version()),
            ..pb::HoldShardsResponse::default()
        };
        match self.may_serve_until(&book) {
            Ok(until) => {
                let left = until.saturating_duration_since(now).as_millis();
                answer.valid_for_ms = u32::try_from(left).unwrap_or(u32::MAX);
                answer.shards = self.granted(&map, &mut book, worker, &serving, until);
            }
            Err(trouble) => answer.trouble = trouble.to_owned(),
        }
        Ok((answer, dropped))
    }

    /// Until when this node may have anything served.
    fn may_serve_until(&self, book: &Book) -> Result<Instant, &'static str> {
        let view = self.registry.view();
        if book.closed {
            return Err("this node stops");
        }
        // What an epoch before this one has had served may go on until then.
        if view.now() < view.tenancy().quarantine_until() {
            return Err("the registry has begun anew a moment ago");
        }
        let epoch = view.head().epoch;
        let session = self.registry.held_groups().confirmed(&session_id(self.registry.node_id()), epoch);
        session.map(|(_, until)| until).ok_or("this node has no session that it may rely on")
    }

    fn granted(
        &self,
        map: &Map<'_>,
        book: &mut Book,
        worker: &str,
        serving: &BTreeSet<Held>,
        until: Instant,
    ) -> Vec<pb::HeldShard> {
        let (me, now) = (self.registry.node_id(), self.registry.view().now());
        let grace = map.spec().policy.drain_grace;
        let mut granted = Vec::new();
        for record in map.shards {
            let Some(value) = record.value::<ShardValue>().filter(|value| value.owner == me) else {
                continue;
            };
            let held = (record.record.id.key.clone(), value.fence_token);
            let draining = match status(&value).0 {
                Status::Active => false,
                // It may finish what it has begun.
                Status::Draining if serving.contains(&held) && is_in_time(&value, grace, now) => true,
                _ => continue,
            };
            if book.given_up.contains(&held) {
                continue;
            }
            let shard = parts(&record.record.id).map(|(_, shard)| shard.to_owned()).unwrap_or_default();
            granted.push(pb::HeldShard { shard_id: shard, fence_token: held.1.cast_signed(), draining });
            let known = book.until.entry(held).or_default().entry(worker.to_owned()).or_insert(until);
            *known = until.max(*known);
        }
        granted
    }

    /// What this node owns, is to stop, and nobody serves; and when there may be more. What is named here nobody is let serve from then
    /// on.
    pub fn to_give_up(&self) -> (Vec<ReleasedShard>, Option<Instant>) {
        let (me, now) = (self.registry.node_id(), Instant::now());
        let mut book = self.lock();
        let records = self.registry.view().list(&SHARD).records;
        book.forget(now);
        let (mut given_up, mut current, mut again) = (Vec::new(), BTreeSet::new(), None::<Instant>);
        for (held, record) in records.iter().filter_map(|record| to_stop(me, record)) {
            let served = book.served_until(&held.0);
            let quiet = Some(self.quiet_until).filter(|until| now < *until);
            match served.max(quiet) {
                Some(until) => again = Some(again.map_or(until, |again| again.min(until))),
                None => {
                    let (namespace, shard) = parts(&record.record.id).unwrap_or_default();
                    given_up.push(ReleasedShard {
                        namespace: namespace.to_owned(),
                        shard_id: shard.to_owned(),
                        fence_token: held.1,
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
            let mut book = self.lock();
            book.closed = true;
            let (me, now) = (self.registry.node_id(), Instant::now());
            let is_own = |record: &Arc<ViewRecord>| {
                record.value::<ShardValue>().is_some_and(|value| value.owner == me)
            };
            // Workers of the process before this one may not have asked yet.
            let quiet = Some(self.quiet_until)
                .filter(|until| now < *until && self.registry.view().list(&SHARD).records.iter().any(is_own));
            book.until.values().flat_map(BTreeMap::values).max().copied().max(quiet)
        };
        if let Some(last) = last {
            sleep_until(last).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Forgets what is over.
    fn forget(&mut self, now: Instant) {
        self.until.retain(|_, workers| {
            workers.retain(|_, until| now < *until);
            !workers.is_empty()
        });
    }

    /// Notes that a worker serves nothing of a namespace but this; whether that was news.
    fn drop_unserved(&mut self, worker: &str, namespace: &str, serving: &BTreeSet<Held>) -> bool {
        let mut dropped = false;
        let is_of = |key: &str| key.split_once('/').is_some_and(|(of, _)| of == namespace);
        for (held, workers) in &mut self.until {
            if is_of(&held.0) && !serving.contains(held) {
                dropped |= workers.remove(worker).is_some();
            }
        }
        dropped
    }

    /// Until when anybody may serve a shard, under this fence or one before it: a fence rises too where a shard stays after all.
    fn served_until(&self, shard: &str) -> Option<Instant> {
        let fences = (shard.to_owned(), 0)..=(shard.to_owned(), u64::MAX);
        self.until.range(fences).flat_map(|(_, workers)| workers.values()).max().copied()
    }

    fn knows(&self, worker: &str) -> bool {
        self.until.values().any(|workers| workers.contains_key(worker))
    }

    fn workers(&self) -> usize {
        self.until.values().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().len()
    }
}

/// A shard that this node owns and is to stop.
fn to_stop<'r>(me: &str, record: &'r Arc<ViewRecord>) -> Option<(Held, &'r Arc<ViewRecord>)> {
    let value = record.value::<ShardValue>().filter(|value| value.owner == me && !value.target.is_empty())?;
    Some(((record.record.id.key.clone(), value.fence_token), record))
}

fn is_in_time(value: &ShardValue, grace: Duration, now: Millis) -> bool {
    let since = value.draining_since.as_ref().map(millis).unwrap_or_default();
    now < since.after(grace)
}
