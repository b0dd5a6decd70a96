//! Push to the pool: decided once, made in pieces, each in memory and in the store.

use std::collections::BTreeMap;

use omnirelay_decisions::register::{PushPlan, UnpushedEntries};
use omnirelay_identity::caller::Caller;
use omnirelay_registry::audit_record;
use omnirelay_registry::mutate::Mutation;
use omnirelay_store::RecordId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::registers::v1::{AdvertisedRegister, ItemFailure};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::advertisement_service;
use tokio::time::Instant;

use super::memory::{EntryChange, PoolMemory, PushAudit};
use super::write::{WriteOutcome, WriteRefusal};
use super::{ADVERTISEMENT, BATCH_MAX, ENTRIES_MAX, FEDERATED_MAX, PRODUCERS_MAX, Pool, Producer};

/// Push of a producer. The items were checked: [`super::check_items`].
pub struct ProducerPush<'a> {
    pub producer: Producer,
    pub items: &'a [AdvertisedRegister],
    /// What becomes of the producer's other entries.
    pub rest: UnpushedEntries,
    /// The most changes of one commit, 1 to [`BATCH_MAX`].
    pub batch: usize,
    /// Whose push the audit trail tells of; `None`: nobody's, the daemon keeps its own advertisements true.
    pub caller: Option<&'a Caller>,
    /// Told after each commit how many changes are done, of how many.
    pub progress: &'a (dyn Fn(usize, usize) + Send + Sync),
    /// Asked before each commit; true stops it there.
    pub cancelled: &'a (dyn Fn() -> bool + Send + Sync),
}

/// Outcome of a push: what it has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushOutcome {
    /// All items, those of the same id counted each.
    pub processed: usize,
    pub added: usize,
    pub updated: usize,
    pub removed: usize,
    pub unchanged: usize,
    /// What the store refused: not counted above, and not in memory either.
    pub failed: Vec<ItemFailure>,
    /// Of those counted above, what waits for the store.
    pub deferred: usize,
    /// True: it was stopped; what is counted was done.
    pub cancelled: bool,
}

impl Pool {
    /// Takes in what a producer pushes: at once in memory, and in the store before it returns, if the store can be
    /// reached. Otherwise it is written later, and the newest wins. What is new or changed goes first, what goes
    /// goes last.
    ///
    /// # Errors
    /// `NODE_ID_HELD` when another daemon has this node's id, `TOO_MANY_ADVERTISEMENTS` when there is no room;
    /// nothing was changed.
    pub async fn push(&self, push: ProducerPush<'_>) -> Result<PushOutcome, Fault> {
        if (self.rival)() {
            return Err(self.rival_fault());
        }
        // What is to go is what the store has, so it is read first, unless it cannot be.
        let _ = self.registry.ready_for("").await;
        self.take_in_epoch();
        let plan = {
            let mut memory = self.memory.lock();
            has_room(&memory, &push)?;
            memory.plan(&push.producer, push.items, &push.rest, Instant::now())
        };
        let mut running = RunningPush {
            pool: self,
            push: &push,
            begun: Instant::now(),
            trail: push.caller.map(|caller| self.trail(caller, &push.producer, &plan)),
            applied: false,
            reachable: true,
            pushed: PushOutcome {
                processed: push.items.len(),
                unchanged: plan.unchanged,
                ..PushOutcome::default()
            },
        };
        let steps = steps_of(plan);
        let mut done = 0;
        for chunk in steps.chunks(push.batch.clamp(1, BATCH_MAX)) {
            if (push.cancelled)() {
                running.pushed.cancelled = true;
                break;
            }
            running.carry_out(chunk).await;
            done += chunk.len();
            (push.progress)(done, steps.len());
        }
        // What nothing came of is not told.
        running.applied = running.pushed.deferred > 0;
        self.refresh_pushed(&push.producer, running.reachable).await;
        Ok(std::mem::take(&mut running.pushed))
    }

    fn trail(&self, caller: &Caller, producer: &Producer, plan: &PushPlan) -> PushAudit {
        let place = format!("{}/{}", self.registry.node_id(), producer.as_str());
        let mutation = Mutation {
            caller,
            action: advertisement_service::BULK_ADVERTISE.audit_action,
            object: RecordId::new(ADVERTISEMENT, place),
            also: &[],
            reason: "",
            expected: None,
            dry_run: false,
            request_hash: 0,
        };
        let counts =
            [("added", plan.add.len()), ("updated", plan.update.len()), ("removed", plan.remove.len())];
        let lines =
            counts.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what}: {count}"));
        let lines: Vec<String> = lines.collect();
        let body = self.registry.body_of(mutation.caller, mutation.deed(&lines));
        PushAudit {
            key: audit_record::record_key(self.registry.view().now(), body.request_id.as_bytes()),
            body,
        }
    }

    fn rival_fault(&self) -> Fault {
        let node = self.registry.node_id();
        let message = format!("another daemon has node id `{node}`; this one advertises nothing");
        Fault::new(reasons::NODE_ID_HELD, message)
            .hint("give each daemon a node id and a data directory of its own, or stop one of the two")
            .detail("nodeId", node)
    }
}

/// Push that is running.
struct RunningPush<'a> {
    pool: &'a Pool,
    push: &'a ProducerPush<'a>,
    begun: Instant,
    /// What is still to be said of it in the audit trail.
    trail: Option<PushAudit>,
    /// True: memory has changed, and the store has not heard of it.
    applied: bool,
    /// False: the store did not answer, so the rest is left to memory.
    reachable: bool,
    pushed: PushOutcome,
}

impl Drop for RunningPush<'_> {
    /// Whoever pushed may have gone away in the middle: what was changed is told all the same.
    fn drop(&mut self) {
        if let Some(trail) = self.trail.take().filter(|_| self.applied) {
            self.pool.memory.lock().keep_audit(trail);
        }
    }
}

impl RunningPush<'_> {
    /// Makes some changes in memory and in the store.
    async fn carry_out(&mut self, steps: &[EntryChange]) {
        let producer = &self.push.producer;
        let at = self.pool.registry.view().now();
        let (steps, before) = {
            let mut memory = self.pool.memory.lock();
            let steps = memory.still_due(producer, steps, self.begun);
            let before = memory.apply(producer, &steps, at, Instant::now());
            (steps, before)
        };
        self.applied = true;
        let ids: Vec<String> = steps.iter().map(|step| step.register_id().clone()).collect();
        let _flight = InFlightEntries { pool: self.pool, producer, ids: &ids };
        let outcome = match self.reachable {
            true => self.pool.write_soon(producer, &ids, self.trail.as_ref()).await,
            false => WriteOutcome::Unreachable,
        };
        match outcome {
            WriteOutcome::Written => {
                self.trail = None;
                self.count(&steps);
            }
            WriteOutcome::Unreachable | WriteOutcome::SessionOver(_) => {
                self.reachable = false;
                self.pushed.deferred += steps.len();
                self.count(&steps);
            }
            WriteOutcome::Refused(refused) => {
                self.pool.memory.lock().undo(producer, before);
                // One of them may be what the store stumbles over.
                if steps.len() > 1 && !refused.concerns_all {
                    for step in &steps {
                        Box::pin(self.carry_out(std::slice::from_ref(step))).await;
                    }
                } else {
                    self.fail(&ids, &refused);
                }
            }
        }
    }

    fn fail(&mut self, ids: &[String], refused: &WriteRefusal) {
        self.pushed.failed.extend(ids.iter().map(|id| ItemFailure {
            register_id: id.clone(),
            reason: refused.reason.name.to_owned(),
            message: refused.message.clone(),
        }));
    }

    fn count(&mut self, steps: &[EntryChange]) {
        for step in steps {
            match step {
                EntryChange::Add(..) => self.pushed.added += 1,
                EntryChange::Update(..) => self.pushed.updated += 1,
                EntryChange::Remove(_) => self.pushed.removed += 1,
            }
        }
    }
}

/// Entries that a push is about to write; whoever keeps the pool lets them alone until this is dropped.
struct InFlightEntries<'a> {
    pool: &'a Pool,
    producer: &'a Producer,
    ids: &'a [String],
}

impl Drop for InFlightEntries<'_> {
    fn drop(&mut self) {
        let mut memory = self.pool.memory.lock();
        for id in self.ids {
            memory.in_flight.remove(&(self.producer.clone(), id.clone()));
        }
    }
}

/// What has to be done for a plan, in its order: a reader never misses what stays public.
fn steps_of(plan: PushPlan) -> Vec<EntryChange> {
    let add = plan.add.into_iter().map(|(id, value)| EntryChange::Add(id, value));
    let update = plan.update.into_iter().map(|(id, value)| EntryChange::Update(id, value));
    add.chain(update).chain(plan.remove.into_iter().map(EntryChange::Remove)).collect()
}

fn has_room(memory: &PoolMemory, push: &ProducerPush<'_>) -> Result<(), Fault> {
    let refuse = |message: String| {
        Err(Fault::new(reasons::TOO_MANY_ADVERTISEMENTS, message)
            .hint("withdraw what is not needed, or push to another node"))
    };
    let known = memory.shelves.get(&push.producer);
    // Each federated cluster has places of its own, and takes none of others.
    let kin = push.producer.kin();
    let is_other = |other: &&Producer| other.kin() == kin && **other != push.producer;
    let others = || memory.shelves.keys().filter(is_other);
    let (places, whose) = match kin {
        Some(_) => (FEDERATED_MAX, "nodes of that cluster"),
        None => (PRODUCERS_MAX, "producers"),
    };
    if known.is_none() && others().count() >= places {
        return refuse(format!("this node advertises for {places} {whose} already"));
    }
    let entries = known.map(|shelf| &shelf.entries);
    let held = entries.filter(|_| push.rest != UnpushedEntries::WithdrawAll);
    let new = push.items.iter().filter(|item| held.is_none_or(|held| !held.contains_key(&item.register_id)));
    // Of a set that is larger only if ids are repeated, nothing is lost by asking for less.
    let all = held.map_or(0, BTreeMap::len) + new.count();
    if all > ENTRIES_MAX {
        return refuse(format!("a producer may have {ENTRIES_MAX} advertisements on one node"));
    }
    let kept = others().filter_map(|other| Some(memory.shelves.get(other)?.entries.len()));
    if kin.is_some() && kept.sum::<usize>() + all > ENTRIES_MAX {
        return refuse(format!("a federated cluster may have {ENTRIES_MAX} advertisements on one node"));
    }
    Ok(())
}
