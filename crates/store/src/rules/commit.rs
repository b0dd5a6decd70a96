//! Commits: what must hold, and what is written when it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::{
    Commit, CommitError, CommitOutcome, ExistingRecord, GroupRef, Lease, LogEntry, Precondition, Record,
    RecordChange, RecordId, RecordOrigin, Revision, StoreError, Version, Write, limits,
};
use super::records::PlannedWrite;
use super::{Step, Table, TablesMut, keys, rows};

/// Plan of the writes of a commit, judged as a whole before any of them is made.
#[derive(Default)]
pub(super) struct WritePlan {
    /// Of its log entry.
    pub revision: Revision,
    pub changes: Vec<PlannedWrite>,
    pub leases: Vec<Lease>,
    /// Leases that nobody will know any more.
    pub forgotten: Vec<Lease>,
    /// Lives of groups whose end this commit acts upon.
    pub ends: Vec<GroupRef>,
}

/// Records that a commit names, each read once.
type NamedRecords<'a> = BTreeMap<&'a RecordId, Option<Record>>;

impl<T: TablesMut> Step<'_, T> {
    /// Makes a commit, or says why not: the answer of the same commit made before goes first,
    /// then epoch, fence, preconditions, the groups of the writes, the leases.
    pub(crate) fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome, CommitError> {
        limits::commit(commit)?;
        if let Some(replayed) = self.replay(commit)? {
            return Ok(replayed);
        }
        let plan = self.plan(commit)?;
        let entry = self.write(plan, &commit.writer)?;
        self.keep_answer(commit, entry.revision)?;
        Ok(CommitOutcome::Done(entry))
    }

    fn plan(&self, commit: &Commit) -> Result<WritePlan, CommitError> {
        self.check_epoch(commit.epoch)?;
        commit.fence.iter().try_for_each(|fence| self.check_fence(fence))?;
        let mut plan = WritePlan::default();
        let mut seen = NamedRecords::new();
        for precondition in &commit.preconditions {
            self.check(precondition, &mut seen, &mut plan)?;
        }
        plan.revision = self.revision_of(&commit.writes, &mut seen)?;
        for write in &commit.writes {
            self.plan_write(write, &commit.writer, &mut seen, &mut plan)?;
        }
        limits::commit_bytes(plan.changes.iter().map(PlannedWrite::value_bytes).sum())?;
        self.plan_leases(&commit.leases, &mut plan)?;
        Ok(plan)
    }

    fn check<'a>(
        &self,
        precondition: &'a Precondition,
        seen: &mut NamedRecords<'a>,
        plan: &mut WritePlan,
    ) -> Result<(), CommitError> {
        match precondition {
            Precondition::Version { id, version } => self.check_version(id, *version, seen, plan),
            Precondition::GroupLive(of) => {
                self.live_group(of).map(|_| ()).ok_or_else(|| CommitError::GroupOver(of.clone()))
            }
            Precondition::GroupOver(of) => {
                self.check_over(of)?;
                plan.ends.push(of.clone());
                Ok(())
            }
        }
    }

    fn check_version<'a>(
        &self,
        id: &'a RecordId,
        expected: Version,
        seen: &mut NamedRecords<'a>,
        plan: &mut WritePlan,
    ) -> Result<(), CommitError> {
        let stored = self.see(id, seen)?;
        let there = stored.filter(|stored| self.is_there(stored));
        let actual = there.map_or(Version(0), |there| there.version);
        if actual == expected {
            plan.ends.extend(self.end_that_hides(stored));
            return Ok(());
        }
        Err(CommitError::Conflict { id: id.clone(), expected, actual })
    }

    fn check_over(&self, of: &GroupRef) -> Result<(), CommitError> {
        let live = self.tables.group(&of.id).filter(|group| group.is_live(self.now));
        let spared_until = live.map(|group| group.deadline).or_else(|| self.spared_until());
        let Some(until) = spared_until else { return Ok(()) };
        Err(CommitError::GroupLive { group: of.id.clone(), until })
    }

    /// The life whose end is why nobody finds the record that is `stored`.
    fn end_that_hides(&self, stored: Option<&Record>) -> Option<GroupRef> {
        let stored = stored.filter(|stored| !stored.deleted && !self.is_there(stored))?;
        stored.group.clone()
    }

    /// The revision of the entry that makes `writes`: above the head, and above what is imported.
    fn revision_of<'a>(
        &self,
        writes: &'a [Write],
        seen: &mut NamedRecords<'a>,
    ) -> Result<Revision, StoreError> {
        let mut revision = self.next_revision();
        for write in writes {
            let Write::Import { id, origin, existing, .. } = write else { continue };
            let is_there = self.see(id, seen)?.is_some_and(|stored| self.is_there(stored));
            if existing.gives_way(is_there) {
                revision = revision.max(next(origin.revision));
            }
        }
        Ok(revision)
    }

    /// Adds to `plan` the change that `write` makes; none when it deletes what is not there, or
    /// imports what is.
    fn plan_write<'a>(
        &self,
        write: &'a Write,
        writer: &Arc<str>,
        seen: &mut NamedRecords<'a>,
        plan: &mut WritePlan,
    ) -> Result<(), CommitError> {
        let id = write.id();
        let stored = self.see(id, seen)?.cloned();
        let there = stored.as_ref().filter(|stored| self.is_there(stored));
        let after = match write {
            Write::Put { value, group, .. } => {
                if let Some(of) = group.as_ref().filter(|of| self.live_group(of).is_none()) {
                    return Err(CommitError::GroupOver(of.clone()));
                }
                plan.ends.extend(self.end_that_hides(stored.as_ref()));
                Record {
                    id: id.clone(),
                    value: value.clone(),
                    version: self.next_version(id, stored.as_ref())?,
                    revision: plan.revision,
                    group: group.clone(),
                    created_at: there.map_or(self.now, |there| there.created_at),
                    updated_at: self.now,
                    writer: Arc::clone(writer),
                    deleted: false,
                }
            }
            Write::Delete { .. } => match there {
                Some(there) => self.tombstone(there, plan.revision, writer),
                None => return Ok(()),
            },
            Write::Import { existing, .. } if !existing.gives_way(there.is_some()) => return Ok(()),
            Write::Import { value, origin, existing, .. } => {
                plan.ends.extend(self.end_that_hides(stored.as_ref()));
                let version_min = match existing {
                    ExistingRecord::Keep => self.next_version(id, stored.as_ref())?,
                    ExistingRecord::Replace => Version(0),
                };
                imported(id, value, origin, version_min)
            }
        };
        plan.changes.push(PlannedWrite { stored, after, expired: false });
        Ok(())
    }

    /// The version of what is written where `stored` is in the table.
    fn next_version(&self, id: &RecordId, stored: Option<&Record>) -> Result<Version, StoreError> {
        match stored {
            Some(stored) => Ok(Version(stored.version.0.saturating_add(1))),
            None => self.first_version(&id.kind),
        }
    }

    /// Tombstone that `record` leaves behind when it is deleted in the entry of `revision`.
    pub(super) fn tombstone(&self, record: &Record, revision: Revision, writer: &Arc<str>) -> Record {
        Record {
            id: record.id.clone(),
            value: Bytes::new(),
            version: Version(record.version.0.saturating_add(1)),
            revision,
            group: None,
            created_at: record.created_at,
            updated_at: self.now,
            writer: Arc::clone(writer),
            deleted: true,
        }
    }

    /// Writes what is planned and its one log entry; the empty entry at the head if it changes nothing.
    pub(super) fn write(&mut self, plan: WritePlan, writer: &Arc<str>) -> Result<Arc<LogEntry>, StoreError> {
        let WritePlan { revision, changes, leases, forgotten, ends } = plan;
        for end in &ends {
            self.keep_end(end)?;
        }
        let previous = self.state.head;
        let is_empty = changes.is_empty() && leases.is_empty() && forgotten.is_empty();
        let revision = if is_empty { previous } else { revision };
        for planned in &changes {
            self.write_record(planned)?;
        }
        for lease in &leases {
            self.tables.put(Table::Leases, lease.scope.as_bytes(), &rows::lease_row(lease))?;
        }
        for lease in &forgotten {
            self.tables.delete(Table::Leases, lease.scope.as_bytes())?;
        }
        let forgotten = forgotten.into_iter().map(|lease| lease.scope).collect();
        let changes = changes.into_iter().map(RecordChange::from).collect();
        let entry = Arc::new(LogEntry {
            revision,
            previous,
            at: self.now,
            writer: Arc::clone(writer),
            changes,
            leases,
            forgotten,
        });
        if revision > previous {
            self.tables.append(&keys::revision(revision), &entry)?;
            self.state.head = revision;
            self.state.log_entries += 1;
        }
        Ok(entry)
    }

    fn see<'a, 's>(
        &self,
        id: &'a RecordId,
        seen: &'s mut NamedRecords<'a>,
    ) -> Result<Option<&'s Record>, StoreError> {
        if !seen.contains_key(id) {
            seen.insert(id, self.stored(id)?);
        }
        Ok(seen.get(id).and_then(Option::as_ref))
    }

    pub(super) fn next_revision(&self) -> Revision {
        next(self.state.head)
    }
}

fn next(revision: Revision) -> Revision {
    Revision(revision.0.saturating_add(1))
}

/// The record of another registry, of this version at least.
fn imported(id: &RecordId, value: &Bytes, origin: &RecordOrigin, version_min: Version) -> Record {
    Record {
        id: id.clone(),
        value: value.clone(),
        version: origin.version.max(version_min),
        revision: origin.revision,
        group: None,
        created_at: origin.created_at,
        updated_at: origin.updated_at,
        writer: Arc::clone(&origin.writer),
        deleted: false,
    }
}

impl PlannedWrite {
    /// The bytes of the values that the log entry has for it.
    fn value_bytes(&self) -> usize {
        self.after.value.len() + self.stored.as_ref().map_or(0, |stored| stored.value.len())
    }
}

impl From<PlannedWrite> for RecordChange {
    fn from(planned: PlannedWrite) -> Self {
        let before = planned.stored.filter(|stored| !stored.deleted);
        Self { before, after: planned.after, expired: planned.expired }
    }
}
