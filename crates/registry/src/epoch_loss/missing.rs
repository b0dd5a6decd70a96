//! Records lost whole by a new epoch that come back: somebody puts them back, and nobody else writes in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omnirelay_store::{Epoch, Record, RecordId, RecordKind, Revision};
use tokio::time::Instant;

use super::{
    HELD_FOR, LossState, LostEpochRecord, NewEpochLosses, RestorableRecord, ToRestore, is_owners, owner,
};
use crate::view::{View, ViewRecord};

/// Rule by which records of a kind come back after a new epoch has lost them.
#[derive(Clone, Debug)]
pub struct RestorationRule {
    pub kind: RecordKind,
    pub by: RestoredBy,
    /// The record that one is part of: where an older or another copy of it was found, its parts of now and of then do not fit
    /// together.
    pub part_of: Option<fn(&Record) -> RecordId>,
    /// What was lost is put together with what was written since, as its object does that; else it comes back as it was, where
    /// there is nothing, and where its owner finds an older copy.
    pub is_merged: bool,
}

/// Restorer of the records of a kind that a new epoch has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoredBy {
    /// Whoever had come furthest in the epoch before: it is nobody's own.
    Furthest,
    /// The node that its key names, at once. After its turn, whoever had come furthest.
    Owner,
    /// The node that its key names, as it keeps itself present. After its turn, each of the others.
    Presence,
    /// What its part does anyway writes it again, or nobody has to: it is held and told alone.
    ItsPart,
}

impl RestorationRule {
    /// A kind whose records stand for themselves.
    pub const fn of(kind: RecordKind, by: RestoredBy) -> Self {
        Self { kind, by, part_of: None, is_merged: false }
    }

    /// A kind whose records are parts of others.
    pub const fn parts(kind: RecordKind, by: RestoredBy, part_of: fn(&Record) -> RecordId) -> Self {
        Self { kind, by, part_of: Some(part_of), is_merged: false }
    }

    /// A kind whose object puts together what was lost with what was written since.
    pub const fn merged(kind: RecordKind, by: RestoredBy) -> Self {
        Self { kind, by, part_of: None, is_merged: true }
    }

    /// Whether somebody puts it back, for whom others wait.
    fn is_put_back(&self) -> bool {
        self.by != RestoredBy::ItsPart
    }

    /// Whether the node that its key names has the first turn.
    fn is_owned(&self) -> bool {
        matches!(self.by, RestoredBy::Owner | RestoredBy::Presence)
    }
}

/// Records that a new epoch has lost and that are to be restored.
#[derive(Default)]
pub struct LostRecords {
    /// By what belongs together, in the order in which that is done.
    pub families: Vec<Vec<LostRecord>>,
}

/// A record that is to be restored.
pub struct LostRecord {
    pub lost: ToRestore,
    /// What it is part of, which must not be there yet.
    pub part_of: Option<RecordId>,
    pub by: RestoredBy,
    /// See [`RestorationRule::is_merged`].
    pub is_merged: bool,
    /// Its key names this node.
    pub is_own: bool,
    /// There is nothing in its place.
    pub is_missing: bool,
}

impl LostRecords {
    pub fn records(&self) -> impl Iterator<Item = &LostRecord> {
        self.families.iter().flatten()
    }

    /// Those of which there is nothing: nobody writes in their place.
    pub fn missing(&self) -> impl Iterator<Item = &LostRecord> {
        self.records().filter(|of| of.is_missing)
    }
}

impl LostRecord {
    /// Whether it is nobody's own.
    pub fn is_of_nobody(&self) -> bool {
        self.by == RestoredBy::Furthest
    }

    pub fn id(&self) -> &RecordId {
        &self.lost.record.record.id
    }
}

/// Span of revisions over which this daemon has followed the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowedSpan {
    /// The epoch that ended then.
    pub until: Revision,
    /// The revision from which on there was no gap.
    pub began: Revision,
    /// When it met the next epoch.
    pub met: Instant,
}

impl NewEpochLosses {
    /// Awaits what is lost whole of these kinds until it is there again, or given up.
    pub(crate) fn restored(self, restored: Vec<Vec<RestorationRule>>) -> Self {
        Self { restored, ..self }
    }

    /// Records to restore: those lost whole, older copies that are merged, and older copies of this node's own.
    pub fn lost(&self, view: &View) -> LostRecords {
        self.settle(view);
        let inner = self.inner.lock();
        let of_kind = |restored: &RestorationRule| -> Vec<LostRecord> {
            let held = inner.held.iter().filter(|(id, _)| id.kind == restored.kind);
            let each = held.filter_map(|(id, held)| {
                let is_own = restored.is_owned() && owner(id) == self.node_id;
                let is_due = held.found.is_none() || restored.is_merged || is_own;
                is_due.then(|| LostRecord {
                    lost: held.to_restore(),
                    part_of: restored.part_of.map(|part_of| part_of(&held.record.record)),
                    by: restored.by,
                    is_merged: restored.is_merged,
                    is_own,
                    // The view is not asked under this lock.
                    is_missing: false,
                })
            });
            each.collect()
        };
        let put_back = |family: &Vec<RestorationRule>| -> Vec<LostRecord> {
            family.iter().filter(|restored| restored.is_put_back()).flat_map(of_kind).collect()
        };
        let families = self.restored.iter().map(put_back).filter(|family| !family.is_empty()).collect();
        let mut lost = LostRecords { families };
        drop(inner);
        for of in lost.families.iter_mut().flatten() {
            of.is_missing = of.lost.found.is_none() && view.get(of.id()).is_none();
        }
        lost
    }

    /// Span over which this daemon has followed the registry until the epoch began; `None`: it was not there then.
    pub fn followed(&self, epoch: Epoch) -> Option<FollowedSpan> {
        let inner = self.inner.lock();
        let (_, until, met) = inner.followed.filter(|(of, ..)| *of == epoch)?;
        Some(FollowedSpan { until, began: inner.began, met })
    }

    /// Notes where the view begins, which has followed nothing before.
    pub(crate) fn note_began(&self, began: Revision) {
        self.inner.lock().began = began;
    }

    /// Whether a record is to be put back, and is not there yet.
    pub fn awaits(&self, view: &View, id: &RecordId) -> bool {
        if !self.restored_of(&id.kind).is_some_and(RestorationRule::is_put_back) {
            return false;
        }
        let is_held = self.inner.lock().held.get(id).is_some_and(|held| held.found.is_none());
        is_held && view.get(id).is_none()
    }

    /// Whether a record is to be put back by another node, or by nobody in particular: this one writes nothing in its place.
    pub fn awaits_of_others(&self, view: &View, id: &RecordId) -> bool {
        let is_own =
            || owner(id) == self.node_id && self.restored_of(&id.kind).is_some_and(RestorationRule::is_owned);
        self.awaits(view, id) && !is_own()
    }

    /// Forgets what is to be put back, as an operator wants no more of it; how many that were.
    pub fn give_up(&self, view: &View) -> usize {
        let lost = self.lost(view);
        let mut inner = self.inner.lock();
        lost.records().filter(|of| inner.held.remove(of.id()).is_some()).count()
    }

    /// Reason why a lost record is held no longer, with what is there now in its place; `None`: it is still held.
    pub(super) fn release_reason(
        &self,
        held: &RestorableRecord,
        now: Option<&Record>,
    ) -> Option<ReleaseReason> {
        let id = &held.record.record.id;
        let (how, found) = (self.restored_of(&id.kind), held.found.as_ref());
        let is_foreign = owner(id) != self.node_id;
        // A copy that a further epoch began with is no word of anybody.
        let is_word = |now: &&Record| {
            is_foreign || !how.is_some_and(RestorationRule::is_owned) || held.to_restore().is_older_than(now)
        };
        let is_other = |now: &&Record| Some(now.revision) != found.map(|found| found.revision);
        if let Some(written) = now.filter(is_other).filter(is_word) {
            // What is this node's own is told.
            let is_by_owner = is_foreign && is_owners(written);
            match how {
                // Only its object can say what is restored.
                Some(how) if how.is_merged => {}
                // What somebody has made of an older copy is another thing than what was lost.
                Some(how) if how.is_owned() && found.is_some() => {
                    let is_restored = is_by_owner || written.value == held.record.record.value;
                    return Some(if is_restored { ReleaseReason::Restored } else { ReleaseReason::Gone });
                }
                Some(how) if how.is_put_back() => return Some(ReleaseReason::Restored),
                Some(_) | None if is_by_owner => return Some(ReleaseReason::Restored),
                Some(_) | None => {}
            }
        }
        let is_deleted = found.is_some() && now.is_none();
        let is_awaited = now.is_none() && how.is_some_and(RestorationRule::is_put_back);
        let is_late = !is_awaited && held.since.elapsed() >= HELD_FOR;
        (is_deleted || is_late).then_some(ReleaseReason::Gone)
    }

    /// Whether somebody had restored a record before this daemon met the new epoch.
    pub(super) fn is_restored_already(&self, lost: &LostEpochRecord) -> bool {
        match self.restored_of(&lost.held.record.id.kind) {
            Some(how) if how.is_merged => false,
            Some(how) if how.is_put_back() => {
                lost.is_as_it_was() || how.is_owned() && lost.is_written_by_owner()
            }
            Some(_) | None => lost.is_written_by_owner(),
        }
    }

    /// Rules by which records of a kind come back; `None`: the kind has none.
    pub fn restored_of(&self, kind: &RecordKind) -> Option<&RestorationRule> {
        self.restored.iter().flatten().find(|restored| restored.kind == *kind)
    }

    /// Records that missing parts are part of, as far as they are there.
    pub(super) fn wholes(&self, view: &View) -> BTreeMap<RecordId, Arc<ViewRecord>> {
        let wholes: BTreeSet<RecordId> = {
            let inner = self.inner.lock();
            inner.held.values().filter_map(|held| self.whole_of(&held.record.record)).collect()
        };
        wholes.into_iter().filter_map(|id| Some((id.clone(), view.get(&id)?))).collect()
    }

    /// Id of the record that this one is part of.
    pub fn whole_of(&self, record: &Record) -> Option<RecordId> {
        self.restored_of(&record.id.kind)?.part_of.map(|part_of| part_of(record))
    }
}

/// Reason why a lost record is held no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReleaseReason {
    Restored,
    /// Somebody has deleted its older copy, or nobody wanted it.
    Gone,
}

impl LossState {
    /// Those of some records that are there otherwise than they were known.
    pub(super) fn made_anew(&self, there: &BTreeMap<RecordId, Arc<ViewRecord>>) -> BTreeSet<RecordId> {
        let is_other = |(id, there): &(&RecordId, &Arc<ViewRecord>)| {
            self.held.get(*id).is_some_and(|held| held.record.record.value != there.record.value)
        };
        there.iter().filter(is_other).map(|(id, _)| id.clone()).collect()
    }
}
