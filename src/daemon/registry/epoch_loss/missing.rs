//! What a new epoch has lost whole of kinds that are nobody's own: somebody puts it back, and nobody writes in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omnirelay_store::{Epoch, Kind, Record, RecordId, Revision};
use tokio::time::Instant;

use super::{HELD_FOR, Inner, Losses};
use crate::daemon::registry::view::{View, ViewRecord};

/// A kind whose records somebody puts back who had come far enough in the epoch before: they are nobody's own.
#[derive(Clone, Debug)]
pub struct RestoredKind {
    pub kind: Kind,
    /// The record that one is part of: where an older or another copy of it was found, its parts of now and of then do not fit
    /// together.
    pub part_of: Option<fn(&Record) -> RecordId>,
}

impl RestoredKind {
    /// A kind whose records stand for themselves.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, part_of: None }
    }
}

/// What is to be put back.
#[derive(Clone, Default)]
pub struct MissingRecords {
    /// By what belongs together, in the order in which that is done.
    pub families: Vec<Vec<MissingRecord>>,
}

/// A record that is to be put back.
#[derive(Clone)]
pub struct MissingRecord {
    pub record: Arc<ViewRecord>,
    /// What it is part of, which must not be there yet.
    pub part_of: Option<RecordId>,
    /// How far the view had come in the epoch that had it.
    pub reached: Revision,
    /// Since when it is known to be lost.
    since: Instant,
}

impl MissingRecords {
    /// Since when all of it is known to be lost; `None`: nothing is missing.
    pub fn since(&self) -> Option<Instant> {
        self.records().map(|of| of.since).max()
    }

    pub fn records(&self) -> impl Iterator<Item = &MissingRecord> {
        self.families.iter().flatten()
    }
}

/// How far this daemon has followed the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowedSpan {
    /// The epoch that ended then.
    pub until: Revision,
    /// The revision from which on there was no gap.
    pub began: Revision,
}

impl Losses {
    /// Awaits what is lost whole of these kinds until it is there again, or given up.
    pub(in crate::daemon::registry) fn restored(self, restored: Vec<Vec<RestoredKind>>) -> Self {
        Self { restored, ..self }
    }

    /// What is to be put back of the kinds that are nobody's own.
    pub fn missing(&self, view: &View) -> MissingRecords {
        self.settle(view);
        let inner = self.lock();
        let mut missing = MissingRecords::default();
        for family in &self.restored {
            let of = |restored: &RestoredKind| {
                let part_of = restored.part_of;
                let kind = restored.kind.clone();
                let held =
                    inner.held.iter().filter(move |(id, held)| id.kind == kind && held.found.is_none());
                held.map(move |(_, held)| MissingRecord {
                    record: held.record.clone(),
                    part_of: part_of.map(|part_of| part_of(&held.record.record)),
                    reached: held.reach.revision,
                    since: held.since,
                })
            };
            let records: Vec<MissingRecord> = family.iter().flat_map(of).collect();
            if !records.is_empty() {
                missing.families.push(records);
            }
        }
        missing
    }

    /// How far this daemon has followed the registry until the epoch began; `None`: it was not there then.
    pub fn followed(&self, epoch: Epoch) -> Option<FollowedSpan> {
        let inner = self.lock();
        let (_, until) = inner.followed.filter(|(of, _)| *of == epoch)?;
        Some(FollowedSpan { until, began: inner.began })
    }

    /// Notes where the view begins, which has followed nothing before.
    pub(in crate::daemon::registry) fn note_began(&self, began: Revision) {
        self.lock().began = began;
    }

    /// Whether a record is to be put back: nobody else is to write one in its place.
    pub fn awaits(&self, view: &View, id: &RecordId) -> bool {
        if self.restored_of(&id.kind).is_none() {
            return false;
        }
        let is_held = self.lock().held.get(id).is_some_and(|held| held.found.is_none());
        is_held && view.get(id).is_none()
    }

    /// Forgets what is to be put back, as an operator wants no more of it; how many that were.
    pub fn give_up(&self, view: &View) -> usize {
        let missing = self.missing(view);
        let mut inner = self.lock();
        missing.records().filter(|of| inner.held.remove(&of.record.record.id).is_some()).count()
    }

    pub(super) fn restored_of(&self, kind: &Kind) -> Option<&RestoredKind> {
        self.restored.iter().flatten().find(|restored| restored.kind == *kind)
    }

    /// What parts that are missing are part of, as far as it is there.
    pub(super) fn wholes(&self, view: &View) -> BTreeMap<RecordId, Arc<ViewRecord>> {
        let wholes: BTreeSet<RecordId> = {
            let inner = self.lock();
            inner.held.values().filter_map(|held| self.whole_of(&held.record.record)).collect()
        };
        wholes.into_iter().filter_map(|id| Some((id.clone(), view.get(&id)?))).collect()
    }

    pub(super) fn whole_of(&self, record: &Record) -> Option<RecordId> {
        self.restored_of(&record.id.kind)?.part_of.map(|part_of| part_of(record))
    }
}

impl Inner {
    /// Those of some records that are there otherwise than they were known.
    pub(super) fn made_anew(&self, there: &BTreeMap<RecordId, Arc<ViewRecord>>) -> BTreeSet<RecordId> {
        let is_other = |(id, there): &(&RecordId, &Arc<ViewRecord>)| {
            self.held.get(*id).is_some_and(|held| held.record.record.value != there.record.value)
        };
        there.iter().filter(is_other).map(|(id, _)| id.clone()).collect()
    }

    /// Releases a record that is nobody's own once it is there again, or was written anew where an older copy was found.
    pub(super) fn settle_restored(&mut self, id: &RecordId, epoch: Epoch, shown: Option<&ViewRecord>) {
        let Some(held) = self.held.get(id).filter(|held| held.epoch == epoch) else { return };
        let found = held.found.as_ref().map(|found| found.revision);
        let is_there = shown.is_some_and(|now| Some(now.record.revision) != found);
        let is_deleted = found.is_some() && shown.is_none();
        if is_there || is_deleted || found.is_some() && held.since.elapsed() >= HELD_FOR {
            self.held.remove(id);
        }
        if is_there {
            self.count_restored(epoch);
        }
    }
}
