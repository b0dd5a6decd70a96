//! The entries of one producer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_decisions::register::group_refresh::{EntryKeeping, GroupRefresh};
use omnirelay_decisions::register::{EntryBefore, StoredState, UnpushedEntries, advertised};
use omnirelay_store::{Group, GroupRef};
use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisedRegister;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;
use prost::Message;
use tokio::time::Instant;

use super::Producer;
use super::memory::EntryChange;

/// The entries of one producer.
#[derive(Default)]
pub(super) struct ProducerEntries {
    /// What its records are bound to; `None`: the next write opens one.
    pub group: Option<GroupRef>,
    pub entries: BTreeMap<String, Entry>,
    /// The entries that the store has not as they should be.
    pub dirty: BTreeSet<String>,
    /// Gone from here, and perhaps not from the store.
    pub withdrawn: BTreeSet<String>,
    /// Of its group.
    pub refresh: GroupRefresh<Instant>,
    /// Until when that lets it live; the view hears of it a moment later.
    pub deadline: Option<Millis>,
    /// What was pushed before the store was read.
    unread: EarlyPushes,
}

/// Early pushes: items that came while nobody knew what the store has.
#[derive(Default)]
struct EarlyPushes {
    /// What was given of each register, the newest of each field.
    items: BTreeMap<String, AdvertisedRegister>,
    /// True: these are all there are.
    complete: bool,
    withdrawn: BTreeSet<String>,
}

/// One register of one producer.
#[derive(Clone)]
pub(super) struct Entry {
    pub held: EntryBefore,
    /// When its producer last said so; `None`: not since this process started.
    pub pushed: Option<Instant>,
    /// When it was changed last.
    pub changed_at: Millis,
}

/// A record as the store has it.
pub(super) struct StoredEntry {
    pub producer: Producer,
    pub register_id: String,
    /// `None`: it cannot be understood.
    pub value: Option<AdvertisementValue>,
    pub group: Option<GroupRef>,
    pub changed_at: Millis,
}

/// Reading of the store into memory: what is known when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreReading {
    /// Nothing of what the store had.
    First,
    /// Everything of the epoch before.
    Anew,
    /// Everything.
    Comparing,
}

/// Undo of a change of an entry: the entry as it was, and what the change made of it.
pub(super) struct EntryUndo {
    id: String,
    entry: Option<Entry>,
    was_withdrawn: bool,
    made: Option<AdvertisementValue>,
}

impl AsRef<EntryBefore> for Entry {
    fn as_ref(&self) -> &EntryBefore {
        &self.held
    }
}

impl Entry {
    /// Whether it is advertised whatever becomes of the group that carried it.
    pub(super) fn is_wanted(&self, keeping: EntryKeeping, ttl: Duration, now: Instant) -> bool {
        keeping.wants(self.pushed.map(|pushed| now.saturating_duration_since(pushed)), ttl)
    }
}

impl ProducerEntries {
    /// Notes what is pushed before the store was read: it says nothing of what is absent from it.
    pub(super) fn note_unread(&mut self, items: &[AdvertisedRegister], rest: &UnpushedEntries) {
        let unread = &mut self.unread;
        match rest {
            UnpushedEntries::Stays => {}
            UnpushedEntries::Withdraw(ids) => unread.withdrawn.extend(ids.iter().cloned()),
            UnpushedEntries::WithdrawAll => {
                unread.complete = true;
                unread.items.clear();
            }
        }
        for item in items {
            unread.withdrawn.remove(&item.register_id);
            let known = unread.items.entry(item.register_id.clone()).or_default();
            let older = std::mem::replace(known, item.clone());
            known.name = known.name.take().or(older.name);
            known.description = known.description.take().or(older.description);
            known.latest_version = known.latest_version.max(older.latest_version);
            known.latest_docket_version = known.latest_docket_version.max(older.latest_docket_version);
        }
    }

    pub(super) fn apply(&mut self, step: &EntryChange, at: Millis, now: Instant) -> EntryUndo {
        let id = step.register_id().clone();
        let entry = self.entries.get(&id).cloned();
        let was_withdrawn = self.withdrawn.contains(&id);
        let mut made = None;
        match step {
            EntryChange::Add(_, value) | EntryChange::Update(_, value) => {
                let mut value = value.clone();
                let mut stored = StoredState::Missing;
                if let Some(Entry { held: known, .. }) = &entry {
                    // Somebody may have come further since this was decided.
                    never_back(&mut value, &known.value);
                    stored = match known.stored {
                        StoredState::Missing => StoredState::Missing,
                        StoredState::Same | StoredState::Other => StoredState::Other,
                    };
                }
                made = Some(value.clone());
                self.withdrawn.remove(&id);
                let held = EntryBefore { value, stored };
                self.put(id.clone(), Entry { held, pushed: Some(now), changed_at: at });
            }
            EntryChange::Remove(_) => {
                self.entries.remove(&id);
                self.dirty.remove(&id);
                // Even what is not known to be stored may be: a reply may have been lost.
                self.withdrawn.insert(id.clone());
            }
        }
        EntryUndo { id, entry, was_withdrawn, made }
    }

    /// Takes a step back, unless there was another since.
    pub(super) fn undo(&mut self, before: EntryUndo) {
        let EntryUndo { id, entry, was_withdrawn, made } = before;
        if self.entries.get(&id).map(|now| &now.held.value) != made.as_ref() {
            return;
        }
        self.dirty.remove(&id);
        if was_withdrawn {
            self.withdrawn.insert(id.clone());
        } else {
            self.withdrawn.remove(&id);
        }
        match entry {
            Some(entry) => self.put(id, entry),
            None => drop(self.entries.remove(&id)),
        }
    }

    fn put(&mut self, id: String, entry: Entry) {
        if entry.held.stored == StoredState::Same {
            self.dirty.remove(&id);
        } else {
            self.dirty.insert(id.clone());
        }
        self.entries.insert(id, entry);
    }

    /// Takes in one record. True: it was as this shelf wants it.
    pub(super) fn take_in(&mut self, found: StoredEntry, taking: StoreReading) -> bool {
        if self.withdrawn.contains(&found.register_id) {
            return false;
        }
        if self.group.is_none() && taking != StoreReading::Comparing {
            self.group.clone_from(&found.group);
        }
        let bound = found.group.is_some() && found.group == self.group;
        if !self.entries.contains_key(&found.register_id) {
            return self.take_in_unknown(found, bound, taking);
        }
        let StoredEntry { register_id: id, value, changed_at, .. } = found;
        let unread = self.unread.items.get(&id).filter(|_| taking == StoreReading::First);
        let Some(known) = self.entries.get_mut(&id) else { return false };
        if let (Some(item), Some(was)) = (unread, &value) {
            known.held.value = advertised(Some(was), item);
        }
        if bound && value.as_ref() == Some(&known.held.value) {
            let same = known.held.stored == StoredState::Same;
            known.held.stored = StoredState::Same;
            known.changed_at = changed_at;
            self.dirty.remove(&id);
            return same;
        }
        known.held.stored = StoredState::Other;
        self.dirty.insert(id);
        false
    }

    /// Takes in a record that this shelf has not.
    fn take_in_unknown(&mut self, found: StoredEntry, bound: bool, taking: StoreReading) -> bool {
        let StoredEntry { register_id: id, value, changed_at, .. } = found;
        let goes = match taking {
            StoreReading::First => self.unread.complete || self.unread.withdrawn.contains(&id),
            // It had been withdrawn, and an older copy has come back.
            StoreReading::Anew => true,
            StoreReading::Comparing => false,
        };
        if goes {
            self.withdrawn.insert(id);
            return false;
        }
        if taking == StoreReading::Comparing && !bound {
            // What is left of a group that has been given up goes with it.
            return true;
        }
        let stored = if bound && value.is_some() { StoredState::Same } else { StoredState::Other };
        let held = EntryBefore { value: value.unwrap_or_default(), stored };
        self.entries.insert(id, Entry { held, pushed: None, changed_at });
        false
    }

    /// Notes which entries the store lacks. True: none.
    pub(super) fn note_missing(&mut self, is_there: impl Fn(&String) -> bool) -> bool {
        self.unread = EarlyPushes::default();
        let mut whole = true;
        for (id, entry) in &mut self.entries {
            if !is_there(id) {
                entry.held.stored = StoredState::Missing;
                self.dirty.insert(id.clone());
                whole = false;
            }
        }
        // What is not there need not be deleted.
        self.withdrawn.retain(is_there);
        whole && self.withdrawn.is_empty()
    }

    /// Notes that an entry was written, or deleted, under `group`.
    pub(super) fn note_written(&mut self, group: &GroupRef, id: &String, value: Option<&Bytes>) {
        match (self.entries.get_mut(id), value) {
            (Some(entry), Some(value)) if self.group.as_ref() == Some(group) => {
                // It may have been changed meanwhile.
                if entry.held.value.encode_to_vec() == *value {
                    entry.held.stored = StoredState::Same;
                    self.dirty.remove(id);
                } else {
                    entry.held.stored = StoredState::Other;
                }
            }
            (Some(entry), None) => entry.held.stored = StoredState::Missing,
            (None, None) => drop(self.withdrawn.remove(id)),
            (Some(_), Some(_)) | (None, Some(_)) => {}
        }
    }

    /// Binds what is written from now on to a group that was opened at `now`; what another one carries has to follow.
    pub(super) fn bind(&mut self, group: &Group, now: Instant) {
        if self.group.replace(group.of.clone()).is_some() {
            self.all_to_be_written();
        }
        self.refresh.refreshed = Some(now);
        self.refresh.refresh_at = self.refresh.refresh_at.map(|at| at.min(now + group.ttl / 2));
        self.deadline = Some(group.deadline);
    }

    pub(super) fn give_up_group(&mut self) {
        self.group = None;
        self.refresh.refreshed = None;
        self.deadline = None;
    }

    pub(super) fn drop_unwanted(&mut self, is_wanted: impl Fn(&Entry) -> bool) {
        self.entries.retain(|_, entry| is_wanted(entry));
        let entries = &self.entries;
        self.dirty.retain(|id| entries.contains_key(id));
    }

    pub(super) fn all_to_be_written(&mut self) {
        self.dirty = self.entries.keys().cloned().collect();
        for entry in self.entries.values_mut().filter(|entry| entry.held.stored == StoredState::Same) {
            entry.held.stored = StoredState::Other;
        }
    }

    /// Whether its producer has pushed any of it since this process started.
    pub(super) fn was_pushed(&self) -> bool {
        self.entries.values().any(|entry| entry.pushed.is_some())
    }

    /// Whether anything of it is to live on, as far as its producer has said.
    pub(super) fn is_confirmed(&self, keeping: EntryKeeping, ttl: Duration, now: Instant) -> bool {
        self.entries.values().any(|entry| entry.is_wanted(keeping, ttl, now))
    }
}

fn never_back(value: &mut AdvertisementValue, known: &AdvertisementValue) {
    value.latest_version = value.latest_version.max(known.latest_version);
    value.latest_docket_version = value.latest_docket_version.max(known.latest_docket_version);
}
