//! Memory of what a node wants to advertise, and how far the store has it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_decisions::register::{PushPlan, StoredState, UnpushedEntries, plan};
use omnirelay_store::{Epoch, GroupRef};
use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisedRegister;
use omnirelay_wire::pb::omnirelay::store::v1::{AdvertisementValue, AuditValue};
use prost::Message;
use tokio::time::Instant;

use super::Producer;
use super::shelf::{EntryUndo, ProducerEntries, StoreReading, StoredEntry};

/// How many audit records wait for the store at most; what comes behind is counted in the last of them.
const UNAUDITED_MAX: usize = 64;

/// Memory of everything this node advertises.
#[derive(Default)]
pub(super) struct PoolMemory {
    /// The epoch whose records were taken in; 0: none were.
    pub epoch: Epoch,
    pub shelves: BTreeMap<Producer, ProducerEntries>,
    /// What was written while a comparison reads the store: what it has read of these may be old.
    pub comparing: Option<BTreeSet<(Producer, String)>>,
    /// A comparison is followed by a push, which is to say what it has put right: until then nobody else does.
    pub leave_until: Option<Instant>,
    /// What a push is about to write: nobody else need.
    pub in_flight: BTreeSet<(Producer, String)>,
    /// The audit records of pushes that the store has not heard of.
    pub unaudited: Vec<PushAudit>,
    /// The life of the session in which groups were refreshed last.
    pub session: Option<GroupRef>,
}

/// Audit record of a push, under the key that it has however often it is written.
#[derive(Clone)]
pub(super) struct PushAudit {
    pub key: String,
    pub body: AuditValue,
}

/// Records of the store that were taken in.
#[derive(Default)]
pub(super) struct TakenIn {
    seen: BTreeMap<Producer, HashSet<String>>,
    /// Some of it was not as memory wants it.
    other: bool,
}

/// Change of one entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum EntryChange {
    Add(String, AdvertisementValue),
    Update(String, AdvertisementValue),
    Remove(String),
}

impl EntryChange {
    pub(super) fn register_id(&self) -> &String {
        match self {
            Self::Add(id, _) | Self::Update(id, _) | Self::Remove(id) => id,
        }
    }
}

/// One write of a chunk: the value, or `None` to delete.
pub(super) type ToWrite = (String, Option<Bytes>);

impl PoolMemory {
    /// Says what a push changes, and notes that what it does not change is still true.
    pub(super) fn plan(
        &mut self,
        producer: &Producer,
        items: &[AdvertisedRegister],
        rest: &UnpushedEntries,
        now: Instant,
    ) -> PushPlan {
        let unread = self.epoch == Epoch(0);
        let shelf = self.shelves.entry(producer.clone()).or_default();
        let plan = plan(&shelf.entries, items, rest);
        for item in items {
            if let Some(entry) = shelf.entries.get_mut(&item.register_id) {
                entry.pushed = Some(now);
            }
        }
        if unread {
            shelf.note_unread(items, rest);
        }
        plan
    }

    /// Leaves out the removals of what was pushed again since `begun`.
    pub(super) fn still_due(
        &self,
        producer: &Producer,
        steps: &[EntryChange],
        begun: Instant,
    ) -> Vec<EntryChange> {
        let shelf = self.shelves.get(producer);
        let pushed =
            |id: &String| shelf.and_then(|shelf| shelf.entries.get(id)).and_then(|entry| entry.pushed);
        let due = |step: &&EntryChange| match step {
            EntryChange::Add(..) | EntryChange::Update(..) => true,
            EntryChange::Remove(id) => pushed(id).is_none_or(|at| at <= begun),
        };
        steps.iter().filter(due).cloned().collect()
    }

    /// Makes some changes here, which their push is about to write, and returns what was before.
    pub(super) fn apply(
        &mut self,
        producer: &Producer,
        steps: &[EntryChange],
        at: Millis,
        now: Instant,
    ) -> Vec<EntryUndo> {
        self.in_flight.extend(steps.iter().map(|step| (producer.clone(), step.register_id().clone())));
        let shelf = self.shelves.entry(producer.clone()).or_default();
        steps.iter().map(|step| shelf.apply(step, at, now)).collect()
    }

    /// Takes changes back that the store refused, unless there were others since.
    pub(super) fn undo(&mut self, producer: &Producer, before: Vec<EntryUndo>) {
        let Some(shelf) = self.shelves.get_mut(producer) else { return };
        before.into_iter().for_each(|before| shelf.undo(before));
    }

    /// Begins with what an epoch has that nothing was known of.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch, found: Vec<StoredEntry>, ttl: Duration, now: Instant) {
        let taking = if self.epoch == Epoch(0) { StoreReading::First } else { StoreReading::Anew };
        self.epoch = epoch;
        self.comparing = None;
        for shelf in self.shelves.values_mut() {
            shelf.give_up_group();
        }
        self.take_found(found, taking);
        if taking == StoreReading::Anew {
            for (producer, shelf) in &mut self.shelves {
                shelf.drop_unwanted(|entry| {
                    entry.held.stored != StoredState::Missing || entry.is_wanted(producer.keeping(), ttl, now)
                });
            }
        }
    }

    /// Takes in all that the store has of this node. True: it was what this memory wants.
    pub(super) fn take_found(&mut self, found: Vec<StoredEntry>, taking: StoreReading) -> bool {
        let mut taken = TakenIn::default();
        self.take_some(found, taking, &mut taken);
        self.end_taking(taken)
    }

    /// Takes in a part of it.
    pub(super) fn take_some(&mut self, found: Vec<StoredEntry>, taking: StoreReading, taken: &mut TakenIn) {
        let touched = self.comparing.take();
        for found in found {
            let place = (found.producer.clone(), found.register_id.clone());
            let shelf = self.shelves.entry(found.producer.clone()).or_default();
            if !touched.as_ref().is_some_and(|touched| touched.contains(&place)) {
                taken.other |= !shelf.take_in(found, taking);
            }
            taken.seen.entry(place.0).or_default().insert(place.1);
        }
        self.comparing = touched;
    }

    /// Notes that there was no more. True: it was what this memory wants.
    pub(super) fn end_taking(&mut self, taken: TakenIn) -> bool {
        let touched = self.comparing.take().unwrap_or_default();
        let none = HashSet::new();
        let mut same = !taken.other;
        for (producer, shelf) in &mut self.shelves {
            let seen = taken.seen.get(producer).unwrap_or(&none);
            let touched = |id: &String| touched.contains(&(producer.clone(), id.clone()));
            same &= shelf.note_missing(|id| seen.contains(id) || touched(id));
        }
        same
    }

    /// Writes that these entries need, as they are now.
    pub(super) fn to_write(&self, producer: &Producer, ids: &[String]) -> Vec<ToWrite> {
        let Some(shelf) = self.shelves.get(producer) else { return Vec::new() };
        let write = |id: &String| match shelf.entries.get(id) {
            Some(entry) if entry.held.stored != StoredState::Same => {
                Some((id.clone(), Some(Bytes::from(entry.held.value.encode_to_vec()))))
            }
            Some(_) => None,
            None => shelf.withdrawn.contains(id).then(|| (id.clone(), None)),
        };
        ids.iter().filter_map(write).collect()
    }

    /// Notes what was written under `group`.
    pub(super) fn note_written(&mut self, producer: &Producer, group: &GroupRef, written: &[ToWrite]) {
        if let Some(comparing) = &mut self.comparing {
            comparing.extend(written.iter().map(|(id, _)| (producer.clone(), id.clone())));
        }
        if let Some(shelf) = self.shelves.get_mut(producer) {
            written.iter().for_each(|(id, value)| shelf.note_written(group, id, value.as_ref()));
        }
    }

    /// Gives up a group that is over: what is wanted has to be written under another, the rest is gone.
    pub(super) fn lose_group(&mut self, producer: &Producer, group: &GroupRef, ttl: Duration, now: Instant) {
        let Some(shelf) = self.shelves.get_mut(producer) else { return };
        if shelf.group.as_ref() != Some(group) {
            return;
        }
        shelf.give_up_group();
        shelf.drop_unwanted(|entry| entry.is_wanted(producer.keeping(), ttl, now));
        shelf.all_to_be_written();
    }

    /// Keeps an audit record until the store can be reached.
    pub(super) fn keep_audit(&mut self, trail: PushAudit) {
        if self.unaudited.len() < UNAUDITED_MAX {
            self.unaudited.push(trail);
        } else if let Some(PushAudit { body: last, .. }) = self.unaudited.last_mut() {
            last.count += 1;
            last.changes.truncate(1);
            last.changes.push(format!("and {} further pushes while the store was away", last.count));
        }
    }

    /// Entries that wait for the store and that no push is about to write, by producer; what is to be there before what
    /// is to go.
    pub(super) fn waiting(&self) -> Vec<(Producer, Vec<String>)> {
        let waiting = self.shelves.iter().filter_map(|(producer, shelf)| {
            let all = shelf.dirty.iter().chain(&shelf.withdrawn);
            let idle = |id: &&String| !self.in_flight.contains(&(producer.clone(), (*id).clone()));
            let ids: Vec<String> = all.filter(idle).cloned().collect();
            (!ids.is_empty()).then(|| (producer.clone(), ids))
        });
        waiting.collect()
    }
}
