//! The reference backend: everything in memory, for tests and for registries that need no file.

pub(crate) mod backend;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_core::time::Millis;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::clock::StoreTime;
use super::rules::{
    self, ChangeDurability, GroupState, GroupTable, GroupTableMut, Groups, ReaderLag, RowVisitor, State,
    Step, Table, TableStretch, Tables, TablesMut, log_row,
};
use super::{
    Clock, ClockReset, Commit, CommitError, CommitOutcome, Epoch, GroupId, GroupRef, HousekeepingOutcome,
    IdempotencyKey, Leases, LogEntry, LogPage, OpenGroup, OpenedGroup, PAGE_MAX, Pulse, PulseAnswer,
    ResetClock, ResetClockError, Retention, Revision, Scan, ScanPage, Store, StoreError, SystemClock, limits,
};

/// A store that ends with its process.
pub struct MemoryStore {
    clock: StoreTime,
    kept: Mutex<MemoryState>,
    head: watch::Sender<Revision>,
}

/// State of a store in memory.
#[derive(Clone, Default)]
struct MemoryState {
    tables: MemoryTables,
    state: State,
    /// The greatest time that a step was given.
    latest: Millis,
}

#[derive(Clone, Default)]
struct MemoryTables {
    rows: BTreeMap<Table, BTreeMap<Vec<u8>, Bytes>>,
    groups: Groups,
}

impl MemoryStore {
    /// An empty store whose time is `clock`'s; its epoch is the time of its making.
    pub fn new(clock: impl Clock) -> Self {
        let state = State { epoch: Epoch(clock.now().0.max(1)), ..State::default() };
        let kept = Mutex::new(MemoryState { state, ..MemoryState::default() });
        Self {
            clock: StoreTime::at_least(Box::new(clock), Millis(0)),
            kept,
            head: watch::Sender::new(Revision(0)),
        }
    }

    /// An empty store on the real clock.
    pub fn system() -> Self {
        Self::new(SystemClock::start())
    }

    /// From now on for `length`, grants nobody a scope and judges nobody gone.
    pub fn quarantine(&self, length: Duration) {
        // Memory does not fail.
        let _ = self.step(|step| step.quarantine(length));
    }

    /// A copy of everything as it is now, on the same time: a replica that hears nothing more. It stays in the
    /// epoch until it is promoted.
    #[must_use]
    pub fn replica(&self, clock: impl Clock) -> Self {
        let kept = self.kept().clone();
        let head = watch::Sender::new(kept.state.head);
        let clock = StoreTime::at_least(Box::new(clock), Millis(0));
        Self { clock, kept: Mutex::new(kept), head }
    }

    /// Begins a new epoch with a quarantine of `length`, for a replica that may lack the last commits.
    pub fn promote(&self, length: Duration) {
        let mut kept = self.kept();
        kept.state.epoch = Epoch(kept.state.epoch.0.saturating_add(1).max(kept.latest.0));
        drop(kept);
        self.quarantine(length);
    }

    /// Runs one step at the present instant and wakes the readers of what it logged.
    fn step<R>(&self, run: impl FnOnce(&mut Step<'_, MemoryTables>) -> R) -> R {
        let mut kept = self.kept();
        let MemoryState { tables, state, latest } = &mut *kept;
        let before = state.head;
        let result = run(&mut Step { tables, state, now: *latest });
        // Sent under the lock, so that the head never goes back.
        if state.head > before {
            self.head.send_replace(state.head);
        }
        result
    }

    /// What is kept, with the clock brought up to date.
    fn kept(&self) -> MutexGuard<'_, MemoryState> {
        let mut kept = self.kept.lock();
        if let Some(wall) = self.clock.left_behind() {
            let MemoryState { tables, state, latest } = &mut *kept;
            rules::follow(state, &mut tables.groups, *latest, wall);
            self.clock.set(wall);
        }
        kept.latest = kept.latest.max(self.clock.now());
        kept
    }

    fn log_now(&self, after: Revision, limit: usize) -> Result<(ReaderLag, LogPage), StoreError> {
        let kept = self.kept();
        let behind = rules::behind(&kept.state, after);
        let entries = match behind {
            ReaderLag::Something => rules::log_behind(&kept.tables, after, limit)?,
            ReaderLag::Nothing | ReaderLag::Compacted => Vec::new(),
        };
        let State { epoch, head, .. } = kept.state;
        Ok((behind, LogPage { epoch, head, entries, compacted: behind == ReaderLag::Compacted }))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &str {
        "memory"
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        self.step(|step| step.pulse(&pulse))
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        self.step(|step| step.open_group(&open))
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.step(|step| step.close_group(epoch, &group))
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        self.step(|step| step.commit(&commit))
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        rules::recall(&self.kept().tables, key)
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        let kept = self.kept();
        rules::scan(&kept.tables, &kept.state, kept.latest, &scan)
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        let kept = self.kept();
        rules::leases(&kept.tables, &kept.state)
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        limits::page(limit)?;
        let mut heads = self.head.subscribe();
        let (behind, page) = self.log_now(after, limit)?;
        if behind != ReaderLag::Nothing || wait.is_zero() {
            return Ok(page);
        }
        // Whether it came in time or not is in the page.
        let _ = tokio::time::timeout(wait, heads.wait_for(|head| *head > after)).await;
        Ok(self.log_now(after, limit)?.1)
    }

    async fn reset_clock(&self, order: ResetClock) -> Result<ClockReset, ResetClockError> {
        let mut kept = self.kept();
        let (wall, before) = (self.clock.wall(), kept.latest);
        let MemoryState { tables, state, latest } = &mut *kept;
        order.check(state.epoch, before, wall)?;
        if order.dry_run {
            return Ok(ClockReset { epoch: state.epoch, before, now: wall });
        }
        let epoch = Step { tables, state, now: before }.turn_back(wall)?;
        *latest = wall;
        self.clock.set(wall);
        Ok(ClockReset { epoch, before, now: wall })
    }

    fn is_in_process(&self) -> bool {
        true
    }

    fn log_in_memory(&self, after: Revision) -> Option<LogPage> {
        self.log_now(after, PAGE_MAX).ok().map(|(_, page)| page)
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        self.step(|step| step.housekeep(epoch, &keep))
    }
}

impl Tables for MemoryTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.rows.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn visit(&self, stretch: &TableStretch, visit: &mut RowVisitor<'_>) -> Result<(), StoreError> {
        let Some(rows) = self.rows.get(&stretch.table).filter(|_| !stretch.is_empty()) else { return Ok(()) };
        let from = Bound::Included(stretch.from.as_slice());
        let to = stretch.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = rows.range::<[u8], _>((from, to));
        loop {
            let next = if stretch.backwards { rows.next_back() } else { rows.next() };
            match next {
                Some((key, row)) if visit(key, row)?.is_continue() => {}
                Some(_) | None => return Ok(()),
            }
        }
    }
}

impl GroupTable for MemoryTables {
    fn group(&self, id: &GroupId) -> Option<GroupState> {
        self.groups.get(id).cloned()
    }

    fn visit_groups(&self, visit: &mut dyn FnMut(&GroupId, &GroupState)) {
        self.groups.iter().for_each(|(id, group)| visit(id, group));
    }
}

impl GroupTableMut for MemoryTables {
    fn put_group(&mut self, id: &GroupId, group: GroupState, _: ChangeDurability) -> Result<(), StoreError> {
        self.groups.insert(id.clone(), group);
        Ok(())
    }
}

impl TablesMut for MemoryTables {
    fn put(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<(), StoreError> {
        self.rows.entry(table).or_default().insert(key.to_vec(), Bytes::copy_from_slice(row));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if let Some(rows) = self.rows.get_mut(&table) {
            rows.remove(key);
        }
        Ok(())
    }

    fn append(&mut self, key: &[u8], entry: &Arc<LogEntry>) -> Result<(), StoreError> {
        self.put(Table::Log, key, &log_row(entry))
    }

    fn note_state(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn delete_group(&mut self, id: &GroupId) -> Result<(), StoreError> {
        self.groups.remove(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, Precondition, RecordId, RecordKind, Version, Write};

    fn put(epoch: Epoch, key: &str, version: u64) -> Commit {
        let id = RecordId::new(RecordKind::of("peer"), key);
        Commit {
            preconditions: vec![Precondition::Version { id: id.clone(), version: Version(version) }],
            writes: vec![Write::Put { id, value: Bytes::from_static(b"v"), group: None }],
            writer: "n1".into(),
            epoch,
            ..Commit::default()
        }
    }

    #[tokio::test]
    async fn a_refused_commit_leaves_nothing() {
        let store = MemoryStore::new(ManualClock::at(Millis(1_000)));
        let put = |key, version| put(Epoch(1_000), key, version);
        assert!(
            matches!(store.commit(put("a", 0)).await, Ok(CommitOutcome::Done(entry)) if entry.revision.0 == 1)
        );
        let mut both = put("b", 0);
        both.preconditions.extend(put("a", 7).preconditions);
        assert!(matches!(
            store.commit(both).await,
            Err(CommitError::Conflict { actual: Version(1), expected: Version(7), .. })
        ));
        let kind = RecordKind::of("peer");
        let page = store.scan(Scan { kind, after: None, backwards: false, limit: 10 }).await.unwrap();
        assert_eq!((page.records.len(), page.head), (1, Revision(1)));
    }
}
