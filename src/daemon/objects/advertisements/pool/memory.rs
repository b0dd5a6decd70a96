//! What a node wants to advertise, and how far the store has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

use super::{Keeping, Producer};
use crate::core::register::{Held, Plan, Rest, Stored, plan};
use crate::core::time::Millis;
use crate::daemon::store::{Epoch, GroupRef};
use crate::wire::pb::omnirelay::registers::v1::AdvertisedRegister;
use crate::wire::pb::omnirelay::store::v1::{AdvertisementValue, AuditValue};

/// How many audit records wait for the store at most; what comes behind is counted in the last of them.
const UNAUDITED_MAX: usize = 64;

/// Everything this node advertises.
#[derive(Default)]
pub(super) struct Memory {
    /// The epoch whose records were taken in; 0: none were.
    pub epoch: Epoch,
    pub shelves: BTreeMap<Producer, Shelf>,
    /// What was written while a comparison reads the store: what it has read of these may be old.
    pub comparing: Option<BTreeSet<(Producer, String)>>,
    /// A comparison is followed by a push, which is to say what it has put right: until then nobody else does.
    pub leave_until: Option<Instant>,
    /// What a push is about to write: nobody else need.
    pub in_flight: BTreeSet<(Producer, String)>,
    /// The audit records of pushes that the store has not heard of.
    pub unaudited: Vec<AuditValue>,
    /// The life of the session in which groups were refreshed last.
    pub session: Option<GroupRef>,
}

/// The entries of one producer.
#[derive(Default)]
pub(super) struct Shelf {
    /// What its records are bound to; `None`: the next write opens one.
    pub group: Option<GroupRef>,
    pub entries: BTreeMap<String, Entry>,
    /// The entries that the store has not as they should be.
    pub dirty: BTreeSet<String>,
    /// Gone from here, and perhaps not from the store.
    pub withdrawn: BTreeSet<String>,
    /// When its group was opened or refreshed last, by this process.
    pub refreshed: Option<Instant>,
    /// Until when that lets it live; the view hears of it a moment later.
    pub deadline: Option<Millis>,
    /// When to refresh it without being told; `None`: not at all.
    pub refresh_at: Option<Instant>,
}

/// One register of one producer.
#[derive(Clone)]
pub(super) struct Entry {
    pub held: Held,
    /// When its producer last said so; `None`: not since this process started.
    pub pushed: Option<Instant>,
    /// When it was changed last.
    pub changed_at: Millis,
}

impl AsRef<Held> for Entry {
    fn as_ref(&self) -> &Held {
        &self.held
    }
}

impl Entry {
    /// Whether it is advertised whatever becomes of the group that carried it.
    pub fn is_wanted(&self, keeping: Keeping, ttl: Duration) -> bool {
        match keeping {
            Keeping::WhileRunning => self.pushed.is_some(),
            Keeping::OnceMore | Keeping::NotAtAll => self.pushed.is_some_and(|pushed| pushed.elapsed() < ttl),
        }
    }
}

/// A record as the store has it.
pub(super) struct Found {
    pub producer: Producer,
    pub register_id: String,
    /// `None`: it cannot be understood.
    pub value: Option<AdvertisementValue>,
    pub group: Option<GroupRef>,
    pub changed_at: Millis,
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Add(String, AdvertisementValue),
    Update(String, AdvertisementValue),
    Remove(String),
}

impl Step {
    pub fn register_id(&self) -> &String {
        match self {
            Self::Add(id, _) | Self::Update(id, _) | Self::Remove(id) => id,
        }
    }
}

/// What an entry was before a step.
pub(super) type Before = (String, Option<Entry>);

/// One write of a chunk: the value, or `None` to delete.
pub(super) type ToWrite = (String, Option<Bytes>);

impl Memory {
    /// Says what a push changes, and notes that what it does not change is still true.
    pub fn plan(&mut self, producer: &Producer, items: &[AdvertisedRegister], rest: &Rest) -> Plan {
        let shelf = self.shelves.entry(producer.clone()).or_default();
        let plan = plan(&shelf.entries, items, rest);
        let now = Instant::now();
        for item in items {
            if let Some(entry) = shelf.entries.get_mut(&item.register_id) {
                entry.pushed = Some(now);
            }
        }
        plan
    }

    /// Makes some changes here, which their push is about to write, and returns what was before.
    pub fn apply(&mut self, producer: &Producer, steps: &[Step], at: Millis) -> Vec<Before> {
        self.in_flight.extend(steps.iter().map(|step| (producer.clone(), step.register_id().clone())));
        let shelf = self.shelves.entry(producer.clone()).or_default();
        steps.iter().map(|step| shelf.apply(step, at)).collect()
    }

    /// Takes changes back that the store refused, unless there were others since.
    pub fn undo(&mut self, producer: &Producer, steps: &[Step], before: Vec<Before>) {
        let Some(shelf) = self.shelves.get_mut(producer) else { return };
        for (step, (id, entry)) in steps.iter().zip(before) {
            let wanted = match step {
                Step::Add(_, value) | Step::Update(_, value) => Some(value),
                Step::Remove(_) => None,
            };
            if shelf.entries.get(&id).map(|now| &now.held.value) != wanted {
                continue;
            }
            shelf.withdrawn.remove(&id);
            shelf.dirty.remove(&id);
            match entry {
                Some(entry) => shelf.put(id, entry),
                None => drop(shelf.entries.remove(&id)),
            }
        }
    }

    /// Begins with what another epoch has: everything that is not found there has to be written.
    pub fn begin_epoch(&mut self, epoch: Epoch, found: Vec<Found>) {
        self.epoch = epoch;
        for shelf in self.shelves.values_mut() {
            shelf.group = None;
            shelf.refreshed = None;
            shelf.deadline = None;
        }
        self.take_found(found);
    }

    /// Takes in all that the store has of this node. True: it was what this memory wants.
    pub fn take_found(&mut self, found: Vec<Found>) -> bool {
        let touched = self.comparing.take().unwrap_or_default();
        let mut seen: BTreeMap<Producer, BTreeSet<String>> = BTreeMap::new();
        let mut same = true;
        for found in found {
            let place = (found.producer.clone(), found.register_id.clone());
            let shelf = self.shelves.entry(found.producer.clone()).or_default();
            if !touched.contains(&place) {
                same &= shelf.take_in(found);
            }
            seen.entry(place.0).or_default().insert(place.1);
        }
        let none = BTreeSet::new();
        for (producer, shelf) in &mut self.shelves {
            let seen = seen.get(producer).unwrap_or(&none);
            let touched = |id: &String| touched.contains(&(producer.clone(), id.clone()));
            same &= shelf.note_missing(|id| seen.contains(id) || touched(id));
        }
        same
    }

    /// What has to be written of these entries, as they are now.
    pub fn to_write(&self, producer: &Producer, ids: &[String]) -> Vec<ToWrite> {
        let Some(shelf) = self.shelves.get(producer) else { return Vec::new() };
        let write = |id: &String| match shelf.entries.get(id) {
            Some(entry) if entry.held.stored != Stored::Same => {
                Some((id.clone(), Some(Bytes::from(entry.held.value.encode_to_vec()))))
            }
            Some(_) => None,
            None => shelf.withdrawn.contains(id).then(|| (id.clone(), None)),
        };
        ids.iter().filter_map(write).collect()
    }

    /// Notes what was written under `group`.
    pub fn note_written(&mut self, producer: &Producer, group: &GroupRef, written: &[ToWrite]) {
        if let Some(comparing) = &mut self.comparing {
            comparing.extend(written.iter().map(|(id, _)| (producer.clone(), id.clone())));
        }
        let Some(shelf) = self.shelves.get_mut(producer) else { return };
        for (id, value) in written {
            let now = shelf.entries.get_mut(id);
            match (now, value) {
                (Some(entry), Some(value)) if shelf.group.as_ref() == Some(group) => {
                    // It may have been changed meanwhile.
                    if entry.held.value.encode_to_vec() == *value {
                        entry.held.stored = Stored::Same;
                        shelf.dirty.remove(id);
                    } else {
                        entry.held.stored = Stored::Other;
                    }
                }
                (Some(entry), None) => entry.held.stored = Stored::Missing,
                (None, None) => drop(shelf.withdrawn.remove(id)),
                (Some(_), Some(_)) | (None, Some(_)) => {}
            }
        }
    }

    /// Gives up a group that is over: what is wanted has to be written under another, the rest is gone.
    pub fn lose_group(&mut self, producer: &Producer, group: &GroupRef, ttl: Duration) {
        let Some(shelf) = self.shelves.get_mut(producer) else { return };
        if shelf.group.as_ref() != Some(group) {
            return;
        }
        shelf.group = None;
        shelf.refreshed = None;
        shelf.deadline = None;
        let keeping = producer.keeping();
        shelf.entries.retain(|_, entry| entry.is_wanted(keeping, ttl));
        shelf.dirty = shelf.entries.keys().cloned().collect();
        for entry in shelf.entries.values_mut().filter(|entry| entry.held.stored == Stored::Same) {
            entry.held.stored = Stored::Other;
        }
    }

    /// Keeps an audit record until the store can be reached.
    pub fn keep_audit(&mut self, body: AuditValue) {
        if self.unaudited.len() < UNAUDITED_MAX {
            self.unaudited.push(body);
        } else if let Some(last) = self.unaudited.last_mut() {
            last.count += 1;
            last.changes.truncate(1);
            last.changes.push(format!("and {} further pushes while the store was away", last.count));
        }
    }

    /// What waits for the store and no push is about to write, by producer; what is to be there before what is to
    /// go.
    pub fn waiting(&self) -> Vec<(Producer, Vec<String>)> {
        let waiting = self.shelves.iter().filter_map(|(producer, shelf)| {
            let all = shelf.dirty.iter().chain(&shelf.withdrawn);
            let idle = |id: &&String| !self.in_flight.contains(&(producer.clone(), (*id).clone()));
            let ids: Vec<String> = all.filter(idle).cloned().collect();
            (!ids.is_empty()).then(|| (producer.clone(), ids))
        });
        waiting.collect()
    }
}

impl Shelf {
    fn apply(&mut self, step: &Step, at: Millis) -> Before {
        let id = step.register_id().clone();
        let before = self.entries.get(&id).cloned();
        match step {
            Step::Add(_, value) | Step::Update(_, value) => {
                let mut value = value.clone();
                let mut stored = Stored::Missing;
                if let Some(before) = &before {
                    // Somebody may have come further since this was decided.
                    let known = &before.held.value;
                    value.latest_version = value.latest_version.max(known.latest_version);
                    value.latest_docket_version =
                        value.latest_docket_version.max(known.latest_docket_version);
                    stored = match before.held.stored {
                        Stored::Missing => Stored::Missing,
                        Stored::Same | Stored::Other => Stored::Other,
                    };
                }
                self.withdrawn.remove(&id);
                let held = Held { value, stored };
                self.put(id.clone(), Entry { held, pushed: Some(Instant::now()), changed_at: at });
            }
            Step::Remove(_) => {
                self.entries.remove(&id);
                self.dirty.remove(&id);
                // Even what is not known to be stored may be: a reply may have been lost.
                self.withdrawn.insert(id.clone());
            }
        }
        (id, before)
    }

    fn put(&mut self, id: String, entry: Entry) {
        if entry.held.stored == Stored::Same {
            self.dirty.remove(&id);
        } else {
            self.dirty.insert(id.clone());
        }
        self.entries.insert(id, entry);
    }

    /// Takes in one record. True: it was as this shelf wants it.
    fn take_in(&mut self, found: Found) -> bool {
        let Found { register_id: id, value, group, changed_at, .. } = found;
        if self.withdrawn.contains(&id) {
            return false;
        }
        if self.group.is_none() {
            self.group.clone_from(&group);
        }
        let bound = group.is_some() && group == self.group;
        let Some(known) = self.entries.get_mut(&id) else {
            let stored = if bound && value.is_some() { Stored::Same } else { Stored::Other };
            let held = Held { value: value.unwrap_or_default(), stored };
            self.entries.insert(id, Entry { held, pushed: None, changed_at });
            return false;
        };
        if bound && value.as_ref() == Some(&known.held.value) {
            let same = known.held.stored == Stored::Same;
            known.held.stored = Stored::Same;
            known.changed_at = changed_at;
            self.dirty.remove(&id);
            return same;
        }
        known.held.stored = Stored::Other;
        self.dirty.insert(id);
        false
    }

    /// Notes which entries the store lacks. True: none.
    fn note_missing(&mut self, is_there: impl Fn(&String) -> bool) -> bool {
        let mut whole = true;
        for (id, entry) in &mut self.entries {
            if !is_there(id) {
                entry.held.stored = Stored::Missing;
                self.dirty.insert(id.clone());
                whole = false;
            }
        }
        // What is not there need not be deleted.
        self.withdrawn.retain(is_there);
        whole && self.withdrawn.is_empty()
    }
}
