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
        self.expire_records(&mut done)?;
        self.trim_log(keep, &mut done)?;
        self.collect_tombstones(keep.tombstone_age, &mut done)?;
        self.forget_answers(keep, &mut done)?;
        self.collect_groups(keep.tombstone_age, &mut done)?;
        Ok(done)
    }

    /// Deletes records of lives that are over, at most one entry full of them.
    fn expire_records(&mut self, done: &mut HousekeepingOutcome) -> Result<(), StoreError> {
        if self.spared_until().is_some() {
            return Ok(());
        }
        let nobody: Arc<str> = Arc::default();
        let mut room = EntryRoom { records: COMMIT_WRITES_MAX, bytes: COMMIT_BYTES_MAX };
        let mut plan = WritePlan { revision: self.next_revision(), ..WritePlan::default() };
        for (id, mut group) in self.unswept_groups() {
            let over_through = group.over_through(self.now);
            let (members, whole) = self.members_through(&id, over_through, &mut room)?;
            if members.is_empty() && whole {
                group.swept_through = over_through;
                self.tables.put_group(&id, group, ChangeDurability::WhileRunning)?;
            }
            if !members.is_empty() {
                plan.ends.push(GroupRef { id, instance: over_through });
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

    fn unswept_groups(&self) -> Vec<(GroupId, GroupState)> {
        let mut found = Vec::new();
        self.tables.visit_groups(&mut |id, group| {
            if group.swept_through < group.over_through(self.now) {
                found.push((id.clone(), group.clone()));
            }
        });
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
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

    /// Drops groups that ended long ago, once nothing is bound to them or waits for them.
    fn collect_groups(&mut self, age: Duration, done: &mut HousekeepingOutcome) -> Result<(), StoreError> {
        let mut old = Vec::new();
        self.tables.visit_groups(&mut |id, group| {
            let over = group.over_through(self.now) == group.instance;
            let swept = group.swept_through >= group.instance;
            if over && swept && !group.replaced.any(self.now) && self.is_older(group.deadline, age) {
                old.push((id.clone(), group.instance));
            }
        });
        old.sort();
        done.more |= old.len() > STEP_ROWS_MAX;
        for (id, instance) in old.into_iter().take(STEP_ROWS_MAX) {
            self.tables.delete_group(&id)?;
            self.state.instance_floor = self.state.instance_floor.max(instance);
        }
        Ok(())
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
