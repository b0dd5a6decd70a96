//! Housekeeping: what has ended or grown old goes, a bounded piece at a time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;

use super::super::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, Epoch, GroupId, GroupRef, HousekeepingOutcome, Record, Retention,
    Revision, StoreError,
};
use super::commit::WritePlan;
use super::records::PlannedWrite;
use super::{ChangeDurability, GroupState, Step, Table, TableStretch, TablesMut, keys, rows};

/// The most rows of one sort that one step removes.
pub(crate) const STEP_ROWS_MAX: usize = 512;

/// Part of housekeeping: a step of its own where others change the store meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HousekeepingPart<'a> {
    /// The records of those of these groups that are over.
    Records(&'a [GroupId]),
    Log,
    /// Entries that the log has no more, but that are still there: a medium has lost those behind them.
    CutLog,
    Tombstones,
    Answers,
    /// Those of these groups that ended long ago.
    Groups(&'a [GroupId]),
}

/// Room that one log entry has left for expired records.
struct EntryRoom {
    records: usize,
    bytes: usize,
}

impl<T: TablesMut> Step<'_, T> {
    pub(crate) fn housekeep(
        &mut self,
        epoch: Epoch,
        keep: &Retention,
    ) -> Result<HousekeepingOutcome, StoreError> {
        self.check_epoch(epoch)?;
        let mut done = HousekeepingOutcome::default();
        let unswept = self.groups_to_sweep(epoch)?;
        self.tend(HousekeepingPart::Records(&unswept), keep, &mut done)?;
        for part in [HousekeepingPart::Log, HousekeepingPart::Tombstones, HousekeepingPart::Answers] {
            self.tend(part, keep, &mut done)?;
        }
        let old = self.groups_to_collect(epoch, keep)?;
        self.tend(HousekeepingPart::Groups(&old), keep, &mut done)?;
        Ok(done)
    }

    /// Makes this part alone.
    pub(crate) fn housekeep_part(
        &mut self,
        epoch: Epoch,
        part: HousekeepingPart<'_>,
        keep: &Retention,
    ) -> Result<HousekeepingOutcome, StoreError> {
        self.check_epoch(epoch)?;
        let mut done = HousekeepingOutcome::default();
        self.tend(part, keep, &mut done)?;
        Ok(done)
    }

    /// The groups of whose lives some are over and may have records, in the order of their ids; none while nobody is judged.
    pub(crate) fn groups_to_sweep(&self, epoch: Epoch) -> Result<Vec<GroupId>, StoreError> {
        self.check_epoch(epoch)?;
        if self.spared_until().is_some() {
            return Ok(Vec::new());
        }
        Ok(self.groups_that(|group| self.is_unswept(group)))
    }

    /// The groups that ended long ago, once nothing is bound to them or waits for them, in the order of their ids.
    pub(crate) fn groups_to_collect(
        &self,
        epoch: Epoch,
        keep: &Retention,
    ) -> Result<Vec<GroupId>, StoreError> {
        self.check_epoch(epoch)?;
        Ok(self.groups_that(|group| self.is_forgettable(group, keep.tombstone_age)))
    }

    fn tend(
        &mut self,
        part: HousekeepingPart<'_>,
        keep: &Retention,
        done: &mut HousekeepingOutcome,
    ) -> Result<(), StoreError> {
        match part {
            HousekeepingPart::Records(of) => self.expire_records(of, done),
            HousekeepingPart::Log => self.trim_log(keep, done),
            HousekeepingPart::CutLog => self.drop_cut_log(done),
            HousekeepingPart::Tombstones => self.collect_tombstones(keep.tombstone_age, done),
            HousekeepingPart::Answers => self.forget_answers(keep, done),
            HousekeepingPart::Groups(old) => self.collect_groups(old, keep.tombstone_age, done),
        }
    }

    fn groups_that(&self, is_one: impl Fn(&GroupState) -> bool) -> Vec<GroupId> {
        let mut found = Vec::new();
        self.tables.visit_groups(&mut |id, group| {
            if is_one(group) {
                found.push(id.clone());
            }
        });
        found.sort();
        found
    }

    /// Deletes records of those lives of these groups that are over, at most one entry full of them.
    fn expire_records(&mut self, of: &[GroupId], done: &mut HousekeepingOutcome) -> Result<(), StoreError> {
        if self.spared_until().is_some() {
            return Ok(());
        }
        let nobody: Arc<str> = Arc::default();
        let mut room = EntryRoom { records: COMMIT_WRITES_MAX, bytes: COMMIT_BYTES_MAX };
        let mut plan = WritePlan { revision: self.next_revision(), ..WritePlan::default() };
        for id in of {
            let Some(mut group) = self.tables.group(id).filter(|group| self.is_unswept(group)) else {
                continue;
            };
            let over_through = group.over_through(self.now);
            let (members, whole) = self.members_through(id, over_through, &mut room)?;
            if members.is_empty() && whole {
                group.swept_through = over_through;
                self.tables.put_group(id, group, ChangeDurability::WhileRunning)?;
            }
            if !members.is_empty() {
                plan.ends.push(GroupRef { id: id.clone(), instance: over_through });
            }
            for stored in members {
                let after = self.tombstone(&stored, plan.revision, &nobody);
                plan.changes.push(PlannedWrite { stored: Some(stored), after, expired: true });
            }
            if !whole {
                done.more = true;
                break;
            }
        }
        done.records_expired = plan.changes.len();
        self.write(plan, &nobody)?;
        Ok(())
    }

    fn is_unswept(&self, group: &GroupState) -> bool {
        group.swept_through < group.over_through(self.now)
    }

    /// The records bound to the lives of the group up to `instance`, as far as there is room;
    /// true if these are all.
    fn members_through(
        &self,
        id: &GroupId,
        instance: u64,
        room: &mut EntryRoom,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let mut records = Vec::new();
        for key in self.member_keys(id, instance, room.records.saturating_add(1))? {
            let Some(record) = self.stored(&keys::record_of(&key)?)? else { continue };
            if room.records == 0 || room.bytes < record.value.len() {
                return Ok((records, false));
            }
            room.records -= 1;
            room.bytes -= record.value.len();
            records.push(record);
        }
        Ok((records, true))
    }

    /// The keys of up to `limit` records bound to the lives of the group up to `instance`.
    fn member_keys(&self, id: &GroupId, instance: u64, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let life = GroupRef { id: id.clone(), instance };
        let from = keys::members(&id.0);
        let records_at = from.len() + size_of::<u64>();
        let to = keys::end_of_prefix(&keys::members_of_life(&life));
        let stretch = TableStretch { table: Table::Members, from, to, backwards: false };
        let mut members = Vec::new();
        self.tables.visit(&stretch, &mut |key, _| {
            members.push(key.get(records_at..).unwrap_or_default().to_vec());
            Ok(if members.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(members)
    }

    /// Drops log entries that are too old or too many, the oldest first.
    fn trim_log(&mut self, keep: &Retention, done: &mut HousekeepingOutcome) -> Result<(), StoreError> {
        let surplus = surplus(self.state.log_entries, keep.log_entries_max);
        let mut trimmed: Vec<Revision> = Vec::new();
        let mut more = false;
        let mut stretch = TableStretch::whole(Table::Log);
        // What was trimmed before is not looked through again.
        stretch.from = keys::revision(Revision(self.state.trimmed_through.0.saturating_add(1))).to_vec();
        self.tables.visit(&stretch, &mut |key, row| {
            let revision = keys::revision_of(key)?;
            let goes = trimmed.len() < surplus || self.is_older(rows::log_at(revision, row)?, keep.log_age);
            more = goes && trimmed.len() == STEP_ROWS_MAX;
            if !goes || more {
                return Ok(ControlFlow::Break(()));
            }
            trimmed.push(revision);
            Ok(ControlFlow::Continue(()))
        })?;
        for revision in &trimmed {
            self.tables.delete(Table::Log, &keys::revision(*revision))?;
            self.state.trimmed_through = *revision;
        }
        self.state.log_entries = self.state.log_entries.saturating_sub(trimmed.len() as u64);
        done.log_entries_trimmed = trimmed.len();
        done.more |= more;
        Ok(())
    }

    /// Drops entries up to the newest that was trimmed, which no reader gets any more and no count has.
    fn drop_cut_log(&mut self, done: &mut HousekeepingOutcome) -> Result<(), StoreError> {
        let mut stretch = TableStretch::whole(Table::Log);
        stretch.to = Some(keys::revision(Revision(self.state.trimmed_through.0.saturating_add(1))).to_vec());
        let mut cut = Vec::new();
        self.tables.visit(&stretch, &mut |key, _| {
            if cut.len() == STEP_ROWS_MAX {
                done.more = true;
                return Ok(ControlFlow::Break(()));
            }
            cut.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        for key in &cut {
            self.tables.delete(Table::Log, key)?;
        }
        done.log_entries_trimmed += cut.len();
        Ok(())
    }

    fn collect_tombstones(
        &mut self,
        age: Duration,
        done: &mut HousekeepingOutcome,
    ) -> Result<(), StoreError> {
        let (old, more) = self.oldest(Table::Tombstones, 0, age)?;
        done.more |= more;
        for timed in old {
            let (_, key) = keys::timed_parts(&timed)?;
            let id = keys::record_of(key)?;
            if let Some(tombstone) = self.stored(&id)? {
                self.raise_version_floor(&id.kind, tombstone.version)?;
            }
            self.tables.delete(Table::Records, key)?;
            self.tables.delete(Table::Tombstones, &timed)?;
            done.tombstones_collected += 1;
        }
        Ok(())
    }

    fn forget_answers(&mut self, keep: &Retention, done: &mut HousekeepingOutcome) -> Result<(), StoreError> {
        let surplus = surplus(self.state.answers, keep.idempotency_entries_max);
        let (old, more) = self.oldest(Table::AnswerTimes, surplus, keep.idempotency_age)?;
        done.more |= more;
        for timed in old {
            let (_, key) = keys::timed_parts(&timed)?;
            self.tables.delete(Table::Answers, key)?;
            self.tables.delete(Table::AnswerTimes, &timed)?;
            self.state.answers = self.state.answers.saturating_sub(1);
            done.answers_forgotten += 1;
        }
        Ok(())
    }

    /// Drops those of these groups that may be forgotten, at most one step full.
    fn collect_groups(
        &mut self,
        old: &[GroupId],
        age: Duration,
        done: &mut HousekeepingOutcome,
    ) -> Result<(), StoreError> {
        done.more |= old.len() > STEP_ROWS_MAX;
        for id in old.iter().take(STEP_ROWS_MAX) {
            let group = self.tables.group(id).filter(|group| self.is_forgettable(group, age));
            let Some(GroupState { instance, .. }) = group else { continue };
            self.tables.delete_group(id)?;
            self.state.instance_floor = self.state.instance_floor.max(instance);
        }
        Ok(())
    }

    /// True if it ended long ago, and nothing is bound to it or waits for it.
    fn is_forgettable(&self, group: &GroupState, age: Duration) -> bool {
        let is_over = group.over_through(self.now) == group.instance;
        let is_swept = group.swept_through >= group.instance;
        is_over && is_swept && !group.replaced.any(self.now) && self.is_older(group.deadline, age)
    }

    /// The first keys of a table ordered by time: `surplus` of them and all that are older than
    /// `age`, at most one step full; true if there were more.
    fn oldest(
        &self,
        table: Table,
        surplus: usize,
        age: Duration,
    ) -> Result<(Vec<Vec<u8>>, bool), StoreError> {
        let mut old = Vec::new();
        let mut more = false;
        self.tables.visit(&TableStretch::whole(table), &mut |timed, _| {
            let (at, _) = keys::timed_parts(timed)?;
            let goes = old.len() < surplus || self.is_older(at, age);
            more = goes && old.len() == STEP_ROWS_MAX;
            if !goes || more {
                return Ok(ControlFlow::Break(()));
            }
            old.push(timed.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((old, more))
    }

    fn is_older(&self, at: Millis, age: Duration) -> bool {
        self.now >= at.after(age)
    }
}

fn surplus(count: u64, max: usize) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(max)
}
